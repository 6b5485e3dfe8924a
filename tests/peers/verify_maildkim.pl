#!/usr/bin/perl
# Verifies many messages with Mail::DKIM, for the tests of Postseal.
#
# Reads frames from standard input, each a decimal length, a line feed and that many bytes. The first frame holds the
# keys (owner TAB text, one TXT record a line, as in `--dns-file`), each further frame a message. Writes for each message
# one line per DKIM-Signature, from the top:
#
#     number TAB verdict TAB signing domain TAB selector TAB algorithm TAB reason
#
# and then `number TAB end`. The verdict is one of Mail::DKIM's: pass, fail, invalid, temperror; or error.
# Signatures too broken to be one are not in Mail::DKIM's list; only then is the list shorter than the message's.
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS;

binmode STDIN;
binmode STDOUT;

sub frame {
    defined(my $length = <STDIN>) or return;
    my $data = '';
    read(STDIN, $data, $length) == $length or die "a frame is shorter than its length\n";
    return $data;
}

sub one_line {
    my ($value) = @_;
    return '-' if !defined $value;
    $value =~ s/\s+/ /g;
    $value =~ s/^ | $//g;
    return $value eq '' ? '-' : $value;
}

my %keys;
for my $line (split /\n/, frame() // '') {
    next if $line eq '' || $line =~ /^#/;
    my ($owner, $text) = split /\t/, $line, 2;
    $owner =~ s/\.$//;
    push @{ $keys{ lc $owner } }, $text;
}

{
    # The keys come from the first frame, not from DNS. The contract of query(): records, or an empty list with the
    # reason in $@, or an exception if the failure may pass.
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name, $type) = @_;
        my @texts = @{ $keys{ lc $name } // ['NXDOMAIN'] };
        if ($texts[0] eq 'NXDOMAIN') { $@ = 'NXDOMAIN'; return }
        die "DNS error: $texts[0]\n" if $texts[0] eq 'SERVFAIL' || $texts[0] eq 'TIMEOUT';
        return map {
            my @strings = $_ =~ /(.{1,255})/gs;
            Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => \@strings);
        } @texts;
    };
}

my $number = 0;
while (defined(my $message = frame())) {
    my $verifier = Mail::DKIM::Verifier->new;
    my $done = eval {
        $verifier->PRINT($message);
        $verifier->CLOSE;
        1;
    };
    if ($done) {
        for my $signature ($verifier->signatures) {
            my $reason = $signature->result_detail;
            $reason = $reason =~ /\((.*)\)$/s ? $1 : '';
            print join("\t", $number, $signature->result, map { one_line($_) } $signature->domain,
                $signature->selector, $signature->algorithm, $reason), "\n";
        }
    } else {
        print join("\t", $number, 'error', '-', '-', '-', one_line($@)), "\n";
    }
    print "$number\tend\n";
    $number++;
}
