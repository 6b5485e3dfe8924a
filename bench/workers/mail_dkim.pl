#!/usr/bin/perl
# Mail::DKIM for `make bench-dkim`; src/worker.rs says how it is spoken to.
use strict;
use warnings;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::PublicKey;
use Mail::DKIM::Signer;
use Mail::DKIM::Verifier;
use Time::HiRes qw(clock_gettime CLOCK_PROCESS_CPUTIME_ID);

binmode STDIN;
binmode STDOUT;
$| = 1;

sub frame {
    my $length = <STDIN>;
    defined $length or die "no frame\n";
    my $octets = '';
    while (length $octets < $length) {
        read STDIN, $octets, $length - length $octets, length $octets or die "a short frame\n";
    }
    return $octets;
}

my ($pem, $record, $domain, $selector, $fields) = map { frame() } 1 .. 5;
my (@messages, @signed, @last);
for my $place (0 .. 2) {
    $messages[$place] = frame();
    $signed[$place]   = frame();
}

# The key comes from a file or as the base64 of its DER.
$pem =~ s/-----[^-]+-----|\s//g;
my $key = Mail::DKIM::PrivateKey->load(Data => $pem);

{
    # The key record comes from memory.
    no warnings 'redefine';
    *Mail::DKIM::PublicKey::fetch_async = sub {
        my ($class, %arguments) = @_;
        my $public = $class->parse($record);
        $public->{$_} = $arguments{$_} for qw(Selector Domain Protocol);
        $public->check;
        my $done = $arguments{Callbacks} && $arguments{Callbacks}{Success};
        my $result = $done ? $done->($public) : $public;
        return sub { $result };
    };
}

sub feed {
    my ($to, $message) = @_;
    $to->PRINT($$message);
    $to->CLOSE;
}

sub sign {
    my $place  = shift;
    my $signer = Mail::DKIM::Signer->new(
        Algorithm => 'rsa-sha256',
        Method    => 'relaxed/relaxed',
        Domain    => $domain,
        Selector  => $selector,
        Key       => $key,
        Headers   => $fields,
    );
    feed($signer, \$messages[$place]);
    $last[$place] = $signer->signature->as_string;
}

sub verify {
    my $verifier = Mail::DKIM::Verifier->new;
    feed($verifier, shift);
    return $verifier->result eq 'pass';
}

while (my $line = <STDIN>) {
    my ($word, $place, $times) = split ' ', $line;
    if ($word eq 'accepts') {
        my $message = frame();
        print verify(\$message) ? "pass\n" : "fail\n";
    } elsif ($word eq 'field') {
        (my $field = $last[$place]) =~ s/\r?\n/\r\n/g;
        $field .= "\r\n";
        print length $field, "\n", $field;
    } else {
        my $start = clock_gettime(CLOCK_PROCESS_CPUTIME_ID);
        for (1 .. $times) {
            if ($word eq 'sign') { sign($place) }
            else                 { verify(\$signed[$place]) or die "does not verify\n" }
        }
        printf "%d\n", 1e9 * (clock_gettime(CLOCK_PROCESS_CPUTIME_ID) - $start);
    }
}
