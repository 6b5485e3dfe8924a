#!/usr/bin/perl
# Signs many messages with Mail::DKIM, for the tests of Postseal.
#
# sign_maildkim DOMAIN SELECTOR ALGORITHM CANONICALIZATION reads frames from standard input, each a decimal length, a
# line feed and that many bytes. The first frame holds the private key (PEM), each further frame a message. Writes for
# each message a frame with the message, signed, or `refused: ` and a reason.
use strict;
use warnings;
use Crypt::OpenSSL::RSA;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::Signer;

binmode STDIN;
binmode STDOUT;

sub frame {
    defined(my $length = <STDIN>) or return;
    my $data = '';
    read(STDIN, $data, $length) == $length or die "a frame is shorter than its length\n";
    return $data;
}

my ($domain, $selector, $algorithm, $canonicalization) = @ARGV;
my $key = Mail::DKIM::PrivateKey->load(Cork => Crypt::OpenSSL::RSA->new_private_key(frame()));
while (defined(my $message = frame())) {
    my $signed = eval {
        my $signer = Mail::DKIM::Signer->new(
            Algorithm => $algorithm,
            Method => $canonicalization,
            Domain => $domain,
            Selector => $selector,
            Key => $key,
        );
        $signer->PRINT($message);
        $signer->CLOSE;
        $signer->signature->as_string . "\r\n" . $message;
    } // "refused: $@";
    print length($signed), "\n", $signed;
}
