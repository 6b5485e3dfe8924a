//! Authentication-Results fields in the shapes that providers and programs give them, each with what is
//! understood of it and what is not. The shapes are theirs, the names and addresses are examples.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;

use postseal_dkim::auth_results::{
    AuthenticationResultsError, MAX_COMMENT_DEPTH, MAX_COMMENTS, MAX_LEN, MAX_PROPERTIES,
    MAX_RESULTS, MethodResult, Property,
};
use postseal_dkim::{AuthenticationResults, AuthservId};

/// What was read, one thing a line: the server, the results with the known word in braces, and behind
/// question marks what was not understood.
fn told(field: &str) -> String {
    let value = field.strip_prefix("Authentication-Results:").unwrap();
    let read = AuthenticationResults::parse(value.as_bytes()).unwrap();
    let mut told = read.authserv_id().map_or("-", |id| id.as_str()).to_owned();
    if let Some(version) = read.version() {
        write!(told, " version {version}").unwrap();
    }
    told.push('\n');
    for result in read.results() {
        told.push_str(&one_line(result));
        told.push('\n');
    }
    for octets in read.not_understood() {
        writeln!(told, "? {}", octets.escape_ascii()).unwrap();
    }
    told
}

fn one_line(result: &MethodResult<'_>) -> String {
    let mut line = result.method.to_string();
    if let Some(version) = result.version {
        write!(line, "/{version}").unwrap();
    }
    let word = result.word().map_or("?", |word| word.as_str());
    write!(line, "={} {{{word}}}", result.result).unwrap();
    if let Some(reason) = &result.reason {
        write!(line, " reason={reason:?}").unwrap();
    }
    for property in &result.properties {
        let kind = property.kind().map(|kind| format!("{kind}.")).unwrap_or_default();
        write!(line, " {kind}{}={}", property.name(), property.value()).unwrap();
    }
    for comment in &result.comments {
        write!(line, " ({comment})").unwrap();
    }
    line
}

#[test]
fn reads_what_providers_write() {
    // (who writes so, the field, what is understood)
    let cases = [
        (
            "Gmail",
            "Authentication-Results: mx.google.com;\r\n       \
             dkim=pass header.i=@example.com header.s=s1 header.b=\"AbC/+9xY\";\r\n       \
             dkim=neutral (body hash did not verify) header.i=@example.org header.s=k1 header.b=x/y+z90A;\r\n       \
             spf=pass (google.com: domain of bounces+1=b=example.net@example.com\r\n designates 192.0.2.1 \
             as permitted sender) smtp.mailfrom=\"bounces+1=b=example.net@example.com\";\r\n       \
             dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.com;\r\n       \
             dara=pass header.i=@example.net",
            "mx.google.com\n\
             dkim=pass {pass} header.i=@example.com header.s=s1 header.b=AbC/+9xY\n\
             dkim=neutral {neutral} header.i=@example.org header.s=k1 header.b=x/y+z90A (body hash did not verify)\n\
             spf=pass {pass} smtp.mailfrom=bounces+1=b=example.net@example.com \
             (google.com: domain of bounces+1=b=example.net@example.com designates 192.0.2.1 as permitted sender)\n\
             dmarc=pass {pass} header.from=example.com (p=REJECT sp=REJECT dis=NONE)\n\
             dara=pass {pass} header.i=@example.net\n",
        ),
        (
            "Gmail, failures",
            "Authentication-Results: mx.google.com;\r\n       dkim=temperror (no key for signature) header.i=@example.com header.s=s1 header.b=AbCdEfGh;\r\n       \
             dkim=policy (weak key) header.i=@example.org header.s=s2 header.b=AbCdEfGi;\r\n       dkim=permerror (bad format);\r\n       \
             spf=softfail (google.com: domain of transitioning a@example.com does not designate 2001:db8::1 as permitted sender) smtp.mailfrom=a@example.com",
            "mx.google.com\n\
             dkim=temperror {temperror} header.i=@example.com header.s=s1 header.b=AbCdEfGh (no key for signature)\n\
             dkim=policy {policy} header.i=@example.org header.s=s2 header.b=AbCdEfGi (weak key)\n\
             dkim=permerror {permerror} (bad format)\n\
             spf=softfail {softfail} smtp.mailfrom=a@example.com (google.com: domain of transitioning a@example.com does not designate 2001:db8::1 as permitted sender)\n",
        ),
        (
            "Microsoft",
            "Authentication-Results: spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=example.com; dkim=pass (signature was verified)\r\n \
             header.d=example.com;dmarc=pass action=none\r\n header.from=example.com;compauth=pass reason=100",
            "-\n\
             spf=pass {pass} smtp.mailfrom=example.com (sender IP is 192.0.2.1)\n\
             dkim=pass {pass} header.d=example.com (signature was verified)\n\
             dmarc=pass {pass} action=none header.from=example.com\n\
             compauth=pass {pass} reason=\"100\"\n",
        ),
        (
            "Microsoft, failures",
            "Authentication-Results: spf=none (sender IP is 192.0.2.1)\r\n smtp.helo=mail.example.com; dkim=timeout (key query timeout)\r\n \
             header.d=example.com;dkim=fail (no key for signature) header.d=none;dmarc=bestguesspass action=none\r\n header.from=",
            "-\n\
             spf=none {none} smtp.helo=mail.example.com (sender IP is 192.0.2.1)\n\
             dkim=timeout {?} header.d=example.com (key query timeout)\n\
             dkim=fail {fail} header.d=none (no key for signature)\n\
             dmarc=bestguesspass {?} action=none header.from=\n",
        ),
        (
            "Microsoft, older, with the recipient's domain between",
            "Authentication-Results: spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=example.com; example.net; dkim=pass (signature was verified)\r\n \
             header.d=example.com;example.net; dmarc=pass action=none\r\n header.from=example.com;",
            "-\n\
             spf=pass {pass} smtp.mailfrom=example.com (sender IP is 192.0.2.1)\n\
             dkim=pass {pass} header.d=example.com (signature was verified)\n\
             dmarc=pass {pass} action=none header.from=example.com\n\
             ? example.net\n\
             ? example.net\n",
        ),
        (
            "Yahoo",
            "Authentication-Results: atlas-production.v2-mail-prod1.omega.yahoo.example;\r\n dkim=pass header.i=@example.com header.s=s1;\r\n \
             dkim=perm_fail header.i=@example.org header.s=k1;\r\n dkim=permerror (no key) header.i=@example.net header.s=k2;\r\n \
             spf=pass smtp.mailfrom=bounces.example.com;\r\n dmarc=pass(p=REJECT) header.from=example.com;",
            "atlas-production.v2-mail-prod1.omega.yahoo.example\n\
             dkim=pass {pass} header.i=@example.com header.s=s1\n\
             dkim=perm_fail {?} header.i=@example.org header.s=k1\n\
             dkim=permerror {permerror} header.i=@example.net header.s=k2 (no key)\n\
             spf=pass {pass} smtp.mailfrom=bounces.example.com\n\
             dmarc=pass {pass} header.from=example.com (p=REJECT)\n",
        ),
        (
            "Yahoo, older, with properties of nothing",
            "Authentication-Results: mta1.mail.yahoo.example  from=example.com; domainkeys=neutral (no sig);  from=example.org; dkim=pass (ok)",
            "mta1.mail.yahoo.example\n\
             domainkeys=neutral {neutral} (no sig)\n\
             dkim=pass {pass} (ok)\n\
             ? from=example.com\n\
             ? from=example.org\n",
        ),
        (
            "Fastmail",
            "Authentication-Results: mx1.messagingengine.example;\r\n    arc=none (no signatures found);\r\n    bimi=skipped (DMARC Policy is not at enforcement);\r\n    \
             dkim=invalid (unsupported algorithm ed25519-sha256, 0-bit key)\r\n      header.d=example.com header.i=@example.com header.b=oF80Qt==\r\n      header.a=ed25519-sha256 header.s=ed x-bits=0;\r\n    \
             dmarc=pass policy.published-domain-policy=none policy.applied-disposition=none (p=none,d=none,d.eval=none) policy.policy-from=p header.from=example.com;\r\n    \
             iprev=pass smtp.remote-ip=2001:db8::25 (mail.example.com);\r\n    x-tls=pass smtp.version=TLSv1.3 smtp.cipher=TLS_AES_256_GCM_SHA384 smtp.bits=256/256;\r\n    \
             x-return-mx=pass smtp.domain=example.com smtp_is_org_domain=yes;\r\n    x-vs=clean score=-10 state=0",
            "mx1.messagingengine.example\n\
             arc=none {none} (no signatures found)\n\
             bimi=skipped {?} (DMARC Policy is not at enforcement)\n\
             dkim=invalid {?} header.d=example.com header.i=@example.com header.b=oF80Qt== header.a=ed25519-sha256 header.s=ed x-bits=0 (unsupported algorithm ed25519-sha256, 0-bit key)\n\
             dmarc=pass {pass} policy.published-domain-policy=none policy.applied-disposition=none policy.policy-from=p header.from=example.com (p=none,d=none,d.eval=none)\n\
             iprev=pass {pass} smtp.remote-ip=2001:db8::25 (mail.example.com)\n\
             x-tls=pass {pass} smtp.version=TLSv1.3 smtp.cipher=TLS_AES_256_GCM_SHA384 smtp.bits=256/256\n\
             x-return-mx=pass {pass} smtp.domain=example.com smtp_is_org_domain=yes\n\
             x-vs=clean {?} score=-10 state=0\n",
        ),
        (
            "iCloud, one field for each method",
            "Authentication-Results: dkim-verifier.icloud.example;\tdkim=pass (2048-bit\r\n key) header.d=example.com header.i=@example.com\r\n header.b=V9y21l+w;\tdkim-adsp=pass",
            "dkim-verifier.icloud.example\n\
             dkim=pass {pass} header.d=example.com header.i=@example.com header.b=V9y21l+w (2048-bit key)\n\
             dkim-adsp=pass {pass}\n",
        ),
        (
            "OpenDKIM, with a semicolon in a comment",
            "Authentication-Results: mail.example.org;\r\n\tdkim=pass (2048-bit key; unprotected) header.d=example.com header.i=@example.com header.a=rsa-sha256 header.s=s1 header.b=AbCdEfGh;\r\n\tdkim-atps=neutral",
            "mail.example.org\n\
             dkim=pass {pass} header.d=example.com header.i=@example.com header.a=rsa-sha256 header.s=s1 header.b=AbCdEfGh (2048-bit key; unprotected)\n\
             dkim-atps=neutral {neutral}\n",
        ),
        (
            "OpenDKIM, older, with a reason",
            "Authentication-Results: mail.example.org/1; dkim=fail\r\n\treason=\"verification failed; insecure key\"\r\n\theader.d=example.com header.i=x@example.com header.b=AbCdEfGh",
            "mail.example.org/1\n\
             dkim=fail {fail} reason=\"verification failed; insecure key\" header.d=example.com header.i=x@example.com header.b=AbCdEfGh\n",
        ),
        (
            "rspamd",
            "Authentication-Results: mx.example.org;\r\n\tdkim=pass header.d=example.com header.s=s1 header.b=\"x/+d0123\";\r\n\tspf=pass (mx.example.org: domain of a@example.com designates 192.0.2.1 as permitted sender) smtp.mailfrom=a@example.com;\r\n\tdmarc=pass (policy=none) header.from=example.com",
            "mx.example.org\n\
             dkim=pass {pass} header.d=example.com header.s=s1 header.b=x/+d0123\n\
             spf=pass {pass} smtp.mailfrom=a@example.com (mx.example.org: domain of a@example.com designates 192.0.2.1 as permitted sender)\n\
             dmarc=pass {pass} header.from=example.com (policy=none)\n",
        ),
        (
            "mail.ru",
            "Authentication-Results: mxs.mail.example; spf=pass (mx1.mail.example: domain of example.com designates 192.0.2.1 as permitted sender) smtp.mailfrom=a@example.com smtp.helo=mail.example.com;\r\n\t dkim=pass header.d=example.com; dmarc=pass header.from=a@example.com",
            "mxs.mail.example\n\
             spf=pass {pass} smtp.mailfrom=a@example.com smtp.helo=mail.example.com (mx1.mail.example: domain of example.com designates 192.0.2.1 as permitted sender)\n\
             dkim=pass {pass} header.d=example.com\n\
             dmarc=pass {pass} header.from=a@example.com\n",
        ),
        (
            "Yandex",
            "Authentication-Results: mxfront1.mail.yandex.example; spf=pass (mxfront1.mail.yandex.example: domain of example.com designates 192.0.2.1 as permitted sender, rule=[ip4:192.0.2.0/24]) smtp.mail=a@example.com; dkim=pass header.i=@example.com",
            "mxfront1.mail.yandex.example\n\
             spf=pass {pass} smtp.mail=a@example.com (mxfront1.mail.yandex.example: domain of example.com designates 192.0.2.1 as permitted sender, rule=[ip4:192.0.2.0/24])\n\
             dkim=pass {pass} header.i=@example.com\n",
        ),
        (
            "Zoho, with a comment behind a value",
            "Authentication-Results: mx.zoho.example;\r\n\tdkim=pass;\r\n\tspf=pass (zoho.example: domain of a@example.com designates 192.0.2.1 as permitted sender)  smtp.mailfrom=a@example.com;\r\n\tdmarc=pass(p=none dis=none)  header.from=a@example.com (p=none dis=none)",
            "mx.zoho.example\n\
             dkim=pass {pass}\n\
             spf=pass {pass} smtp.mailfrom=a@example.com (zoho.example: domain of a@example.com designates 192.0.2.1 as permitted sender)\n\
             dmarc=pass {pass} header.from=a@example.com (p=none dis=none) (p=none dis=none)\n",
        ),
        (
            "Cisco, in capitals",
            "Authentication-Results: esa1.example.org; spf=SoftFail smtp.mailfrom=a@example.com;\r\n  spf=None smtp.helo=postmaster@mail.example.com; dkim=hardfail (body hash did not verify [final]) header.i=@example.com",
            "esa1.example.org\n\
             spf=SoftFail {softfail} smtp.mailfrom=a@example.com\n\
             spf=None {none} smtp.helo=postmaster@mail.example.com\n\
             dkim=hardfail {?} header.i=@example.com (body hash did not verify [final])\n",
        ),
        (
            "Proton",
            "Authentication-Results: mail.proton.example; dkim=pass (Good 2048 bit\r\n    rsa-sha256 signature.) header.d=example.com header.a=rsa-sha256",
            "mail.proton.example\n\
             dkim=pass {pass} header.d=example.com header.a=rsa-sha256 (Good 2048 bit rsa-sha256 signature.)\n",
        ),
        (
            "pyspf-milter, with what it was told in a comment",
            "Authentication-Results: mail.example.org; spf=pass (sender SPF authorized) smtp.mailfrom=example.com (client-ip=192.0.2.1; helo=mail.example.com; envelope-from=a@example.com; receiver=<UNKNOWN>)",
            "mail.example.org\n\
             spf=pass {pass} smtp.mailfrom=example.com (sender SPF authorized) (client-ip=192.0.2.1; helo=mail.example.com; envelope-from=a@example.com; receiver=<UNKNOWN>)\n",
        ),
        (
            "nothing was looked at (RFC 8601 appendix B.2)",
            "Authentication-Results: example.org 1; none",
            "example.org version 1\n",
        ),
        (
            "nothing was looked at, and why",
            "Authentication-Results: example.org; NONE (not for local mail)",
            "example.org\n",
        ),
        (
            "comments wherever there may be one (RFC 8601 appendix B.7)",
            "Authentication-Results: foo.example.net (foobar) 1 (baz);\r\n      dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n        \
             policy (A dot can go here) . (like that) expired\r\n        (this surprised me) = (as I wasn't expecting it) 1362471462",
            "foo.example.net version 1\n\
             dkim/1=fail {fail} policy.expired=1362471462 (Because I like it) (One yay) (wait for it) (A dot can go here) (like that) (this surprised me) (as I wasn't expecting it)\n",
        ),
        (
            "nested comments and quoted pairs",
            "Authentication-Results: \"mx \\\"1\\\"\"; dkim=pass (a (b \\) ; c) \\\\ d) reason=\"x\\\\ \\\"y\\\"\r\n  (z); w\"",
            "mx \"1\"\n\
             dkim=pass {pass} reason=\"x\\\\ \\\"y\\\"  (z); w\" (a (b ) ; c) \\ d)\n",
        ),
        (
            "an address with a quoted local part",
            "Authentication-Results: mx.example; spf=pass smtp.mailfrom=\"a b@c\"@example.com smtp.helo=x",
            "mx.example\n\
             spf=pass {pass} smtp.mailfrom=\"a b@c\"@example.com smtp.helo=x\n",
        ),
        (
            "SMTPUTF8",
            "Authentication-Results: mx.example; spf=pass smtp.mailfrom=jörg@bücher.example",
            "mx.example\n\
             spf=pass {pass} smtp.mailfrom=jörg@bücher.example\n",
        ),
        (
            "a local file with bare line feeds",
            "Authentication-Results: mx.example;\n\tdkim=pass\n\theader.d=example.com",
            "mx.example\n\
             dkim=pass {pass} header.d=example.com\n",
        ),
    ];
    for (who, field, want) in cases {
        assert_eq!(told(field), want, "{who}");
    }
}

#[test]
fn what_has_two_readings_is_no_result() {
    // (the field, what is understood)
    let cases = [
        // A sender's octets that a receiver wrote down as they came.
        (
            "mx; spf=pass smtp.mailfrom=bank.example(.evil.example header.d=x; dkim=pass header.d=bank.example",
            "mx\n? spf=pass smtp.mailfrom=bank.example(.evil.example header.d=x; dkim=pass header.d=bank.example\n",
        ),
        (
            "mx; dkim=pass header.d=bank.example(.evil.example)",
            "mx\n? dkim=pass header.d=bank.example(.evil.example)\n",
        ),
        (
            "mx; dkim=pass header.d=bank.example\".evil.example; spf=pass; x\"; dmarc=fail",
            "mx\ndmarc=fail {fail}\n? dkim=pass header.d=bank.example\\\".evil.example; spf=pass; x\\\"\n",
        ),
        ("mx; dkim=pass header.d=\"a", "mx\n? dkim=pass header.d=\\\"a\n"),
        ("mx; dkim=fail reason=\"a\"header.d=b", "mx\n? dkim=fail reason=\\\"a\\\"header.d=b\n"),
        ("mx; dkim=pass header.d=\"a\"@b(c)", "mx\n? dkim=pass header.d=\\\"a\\\"@b(c)\n"),
        // A backslash quotes only in quotes and comments.
        ("mx; a\\; dkim=pass", "mx\ndkim=pass {pass}\n? a\\\\\n"),
        // A quotation mark in a comment begins nothing.
        ("mx; dkim=pass (a \" b); spf=pass", "mx\ndkim=pass {pass} (a \" b)\nspf=pass {pass}\n"),
        (
            "mx; dkim=pass (a \\); spf=pass)  (b  c); x=y",
            "mx\ndkim=pass {pass} (a ); spf=pass) (b c)\nx=y {?}\n",
        ),
        ("mx; dkim=pass header.d=\"a\"b", "mx\n? dkim=pass header.d=\\\"a\\\"b\n"),
        ("mx; dkim=pass header.d=\"a\"@b\"c\"", "mx\n? dkim=pass header.d=\\\"a\\\"@b\\\"c\\\"\n"),
        ("mx; dkim=pass header.d=a\\b", "mx\n? dkim=pass header.d=a\\\\b\n"),
        ("mx; dkim=pass header.d=a)b", "mx\n? dkim=pass header.d=a)b\n"),
        ("mx; dkim=pass (a\\) header.d=b", "mx\n? dkim=pass (a\\\\) header.d=b\n"),
        ("mx (a; dkim=pass", "-\n? mx (a; dkim=pass\n"),
        ("mx \"a; dkim=pass", "-\n? mx \\\"a; dkim=pass\n"),
        // An empty value, or one that stands apart?
        ("mx; dmarc=pass header.from= header.d=a", "mx\n? dmarc=pass header.from= header.d=a\n"),
        // Stray words.
        ("mx; dkim=pass fail header.d=a", "mx\n? dkim=pass fail header.d=a\n"),
        ("mx; dkim=pass=fail", "mx\n? dkim=pass=fail\n"),
        ("mx; dkim=pass header.d=a header", "mx\n? dkim=pass header.d=a header\n"),
        ("mx; dkim=pass header.d=a,b c", "mx\n? dkim=pass header.d=a,b c\n"),
        ("mx; dkim", "mx\n? dkim\n"),
        ("mx; dkim=", "mx\n? dkim=\n"),
        ("mx; =pass", "mx\n? =pass\n"),
        ("mx; dkim=\"pass\"", "mx\n? dkim=\\\"pass\\\"\n"),
        ("mx; dkim/x=pass", "mx\n? dkim/x=pass\n"),
        ("mx; dkim/99999999999=pass", "mx\n? dkim/99999999999=pass\n"),
        ("mx; spf=pass smtp.a.b=c", "mx\n? spf=pass smtp.a.b=c\n"),
        // Two reasons.
        ("mx; dkim=fail reason=a reason=b", "mx\n? dkim=fail reason=a reason=b\n"),
        // `none` beside a result.
        ("mx; none; dkim=pass", "mx\ndkim=pass {pass}\n? none\n"),
        ("mx; none; none", "mx\n? none\n"),
        // A head that is half a result, or not whole.
        ("dkim=pa\"ss\"; spf=pass", "-\nspf=pass {pass}\n? dkim=pa\\\"ss\\\"\n"),
        ("a=b=c; spf=pass", "-\nspf=pass {pass}\n? a=b=c\n"),
        ("dkim =", "-\n? dkim =\n"),
        ("\"a\"b; spf=pass", "-\nspf=pass {pass}\n? \\\"a\\\"b\n"),
        ("\"\"; spf=pass", "-\nspf=pass {pass}\n? \\\"\\\"\n"),
        ("mx 1 2; spf=pass", "mx version 1\nspf=pass {pass}\n? 2\n"),
        ("mx 1a; spf=pass", "mx\nspf=pass {pass}\n? 1a\n"),
        // Control characters, and line ends that fold nothing.
        ("mx; dkim=pass (a\0b); spf=pass", "mx\nspf=pass {pass}\n? dkim=pass (a\\x00b)\n"),
        ("mx; dkim=pass header.d=\"a\rb\"", "mx\n? dkim=pass header.d=\\\"a\\rb\\\"\n"),
        ("mx; dkim=pass\r\nX: y; spf=pass", "mx\nspf=pass {pass}\n? dkim=pass\\r\\nX: y\n"),
        ("mx; dkim=pass\r\nheader.d=a; x=y", "mx\nx=y {?}\n? dkim=pass\\r\\nheader.d=a\n"),
        ("mx; dkim=pass\nheader.d=a; x=y", "mx\nx=y {?}\n? dkim=pass\\nheader.d=a\n"),
        ("mx; dkim=pass (\u{85})", "mx\n? dkim=pass (\\xc2\\x85)\n"),
    ];
    for (value, want) in cases {
        assert_eq!(told(&format!("Authentication-Results: {value}")), want, "{value:?}");
    }
    let read = AuthenticationResults::parse(b"mx; dkim=pass (J\xf6rg); spf=pass").unwrap();
    assert_eq!(read.results().len(), 1);
    assert_eq!(read.not_understood(), [b"dkim=pass (J\xf6rg)"]);
}

#[test]
fn a_property_that_stands_there_twice_has_no_value() {
    let read = AuthenticationResults::parse(
        b"mx; dkim=pass header.D=a header.d=b Header.S=c smtp.s=e x=d",
    )
    .unwrap();
    let result = read.of_method("DKIM").next().unwrap();
    assert_eq!(result.property("header", "d"), None);
    assert_eq!(result.property("header", "s").unwrap().as_str(), "c");
    assert_eq!(result.property("header", "x"), None);
    assert_eq!(result.properties.iter().filter_map(Property::kind).count(), 4);
    assert_eq!(read.of_method("spf").count(), 0);
}

#[test]
fn a_result_is_written_as_the_word_that_it_was_read_from() {
    for word in ["none", "pass", "fail", "softfail", "policy", "neutral", "temperror", "permerror"]
    {
        let field = format!("mx.example.org; spf={word}");
        let read = AuthenticationResults::parse(field.as_bytes()).unwrap();
        let words: Vec<_> =
            read.of_method("spf").map(|result| result.word().unwrap().to_string()).collect();
        assert_eq!(words, [word]);
    }
}

#[test]
fn the_name_of_a_server_is_the_same_in_any_spelling() {
    let ours = AuthservId::new("mx.example.org").unwrap();
    for value in [
        "mx.example.org",
        "MX.Example.ORG 1; none",
        "(a)\r\n \"mx.example.org\" ; none",
        " mx.example.org(a)",
    ] {
        let read = AuthenticationResults::parse(value.as_bytes()).unwrap();
        assert_eq!(read.authserv_id(), Some(&ours), "{value:?}");
    }
    for value in ["mx.example.org.evil.example", "a mx.example.org", "dkim=pass; mx.example.org"] {
        let read = AuthenticationResults::parse(value.as_bytes()).unwrap();
        assert_ne!(read.authserv_id(), Some(&ours), "{value:?}");
    }
}

#[test]
fn length_number_and_depth_are_bounded() {
    use AuthenticationResultsError::{Empty, TooLong, TooManyResults};

    let parse = |text: &str| {
        AuthenticationResults::parse(text.as_bytes())
            .map(|read| (read.results().len(), read.not_understood().len()))
    };
    assert_eq!(parse(" \r\n "), Err(Empty));
    assert_eq!(parse(&" ".repeat(MAX_LEN + 1)), Err(TooLong));
    assert_eq!(parse(&format!("mx{}", ";".repeat(MAX_LEN - 2))), Ok((0, 0)));
    assert_eq!(parse(&format!("mx{}", ";a=b".repeat(MAX_RESULTS))), Ok((MAX_RESULTS, 0)));
    assert_eq!(parse(&format!("mx{}", ";a=b".repeat(MAX_RESULTS + 1))), Err(TooManyResults));
    assert_eq!(parse(&format!("mx{}", ";a".repeat(MAX_RESULTS + 1))), Err(TooManyResults));

    let of_properties = |n| format!("mx;a=b{};c=d", " e.f=g".repeat(n));
    assert_eq!(parse(&of_properties(MAX_PROPERTIES)), Ok((2, 0)));
    assert_eq!(parse(&of_properties(MAX_PROPERTIES + 1)), Ok((1, 1)));
    let of_comments = |n| format!("mx;a=b{};c=d", "()".repeat(n));
    assert_eq!(parse(&of_comments(MAX_COMMENTS)), Ok((2, 0)));
    assert_eq!(parse(&of_comments(MAX_COMMENTS + 1)), Ok((1, 1)));
    let of_depth = |n| format!("mx;a=b{}{};c=d", "(".repeat(n), ")".repeat(n));
    assert_eq!(parse(&of_depth(MAX_COMMENT_DEPTH)), Ok((2, 0)));
    // Where a comment is too deep, nobody looks for its end.
    assert_eq!(parse(&of_depth(MAX_COMMENT_DEPTH + 1)), Ok((0, 1)));
    assert_eq!(parse(&of_depth(MAX_LEN / 2 - 10)), Ok((0, 1)));
}
