/*
 * Verifies many messages with libopendkim, for the tests of Postseal.
 *
 * Reads frames from standard input, each a decimal length, a line feed and that many bytes. The first frame holds the
 * keys (owner TAB text, one TXT record a line, as in `--dns-file`), each further frame a message. Writes for each message
 * one line per DKIM-Signature, from the top:
 *
 *     number TAB verdict TAB signing domain TAB selector TAB algorithm TAB reason
 *
 * and then `number TAB end`. The verdict is pass, fail (body hash or signature do not match) or error.
 */
#define _GNU_SOURCE /* memmem, in the header */
#include <strings.h>

#include "opendkim_frames.h"

static struct bytes keys;

/* Looks a signature's key up in the first frame. */
static DKIM_STAT
key_lookup(DKIM *dkim, DKIM_SIGINFO *signature, unsigned char *buffer, size_t size)
{
	(void) dkim;
	char name[1024];
	int length = snprintf(name, sizeof name, "%s._domainkey.%s", (char *) dkim_sig_getselector(signature),
	                      (char *) dkim_sig_getdomain(signature));
	if (length < 0 || (size_t) length >= sizeof name)
		return DKIM_STAT_NOKEY;

	for (const char *line = keys.at; *line != '\0';)
	{
		size_t line_length = strcspn(line, "\n");
		const char *tab = memchr(line, '\t', line_length);
		if (line[0] != '#' && tab != NULL && tab - line == length && strncasecmp(line, name, (size_t) length) == 0)
		{
			const char *text = tab + 1;
			size_t text_length = line_length - (size_t) (text - line);
			if (text_length == 8 && memcmp(text, "NXDOMAIN", 8) == 0)
				return DKIM_STAT_NOKEY;
			if ((text_length == 8 && memcmp(text, "SERVFAIL", 8) == 0) ||
			    (text_length == 7 && memcmp(text, "TIMEOUT", 7) == 0))
				return DKIM_STAT_KEYFAIL;
			if (text_length >= size)
				return DKIM_STAT_CANTVRFY;
			memcpy(buffer, text, text_length);
			buffer[text_length] = '\0';
			return DKIM_STAT_OK;
		}
		line += line_length;
		if (*line == '\n')
			line++;
	}
	return DKIM_STAT_NOKEY;
}

static const char *
algorithm(DKIM_SIGINFO *signature)
{
	dkim_alg_t value;
	if (dkim_sig_getsignalg(signature, &value) != DKIM_STAT_OK)
		return "-";
	switch (value)
	{
	case DKIM_SIGN_RSASHA1:
		return "rsa-sha1";
	case DKIM_SIGN_RSASHA256:
		return "rsa-sha256";
	case DKIM_SIGN_ED25519SHA256:
		return "ed25519-sha256";
	default:
		return "-";
	}
}

static const char *
or_dash(const unsigned char *text)
{
	return text == NULL || text[0] == '\0' ? "-" : (const char *) text;
}

static void
report(DKIM *dkim, unsigned long number, DKIM_STAT overall)
{
	DKIM_SIGINFO **signatures;
	int count = 0;
	if (dkim_getsiglist(dkim, &signatures, &count) != DKIM_STAT_OK)
		count = 0;
	if (count == 0 && overall != DKIM_STAT_OK && overall != DKIM_STAT_NOSIG)
		printf("%lu\terror\t-\t-\t-\t%s\n", number, dkim_getresultstr(overall));
	for (int i = 0; i < count; i++)
	{
		DKIM_SIGINFO *signature = signatures[i];
		/* dkim_eom() stops at the first signature that passes. */
		if (dkim_sig_geterror(signature) == DKIM_SIGERROR_UNKNOWN || dkim_sig_geterror(signature) == DKIM_SIGERROR_OK)
			(void) dkim_sig_process(dkim, signature);
		unsigned int flags = dkim_sig_getflags(signature);
		int error = dkim_sig_geterror(signature), body = dkim_sig_getbh(signature);
		const char *verdict = "error", *reason = dkim_sig_geterrorstr(error);
		if ((flags & DKIM_SIGFLAG_PASSED) != 0 && body == DKIM_SIGBH_MATCH)
		{
			verdict = "pass";
			reason = "-";
		}
		else if ((flags & DKIM_SIGFLAG_PROCESSED) != 0 && body == DKIM_SIGBH_MISMATCH)
		{
			verdict = "fail";
			reason = "body hash mismatch";
		}
		else if (error == DKIM_SIGERROR_BADSIG)
		{
			verdict = "fail";
		}
		else if (error == DKIM_SIGERROR_OK || error == DKIM_SIGERROR_UNKNOWN)
		{
			reason = body == DKIM_SIGBH_UNTESTED ? "body hash not tested" : "not processed";
		}
		printf("%lu\t%s\t%s\t%s\t%s\t%s\n", number, verdict, or_dash(dkim_sig_getdomain(signature)),
		       or_dash(dkim_sig_getselector(signature)), algorithm(signature), reason == NULL ? "-" : reason);
	}
}

int
main(void)
{
	if (!frame(&keys))
		die("the input has no keys");
	DKIM_LIB *library = dkim_init(NULL, NULL);
	if (library == NULL || dkim_set_key_lookup(library, key_lookup) != DKIM_STAT_OK)
		die("the library does not start");
	/* Signatures that cannot be read stay in the list, so that its order is that of the message. */
	unsigned int flags = DKIM_LIBFLAGS_BADSIGHANDLES;
	if (dkim_options(library, DKIM_OP_SETOPT, DKIM_OPTS_FLAGS, &flags, sizeof flags) != DKIM_STAT_OK)
		die("the library refuses an option");

	struct bytes message;
	for (unsigned long number = 0; frame(&message); number++)
	{
		DKIM_STAT status;
		DKIM *dkim = dkim_verify(library, (const u_char *) "message", NULL, &status);
		if (dkim == NULL)
		{
			printf("%lu\terror\t-\t-\t-\t%s\n", number, dkim_getresultstr(status));
		}
		else
		{
			report(dkim, number, feed(dkim, message));
			dkim_free(dkim);
		}
		printf("%lu\tend\n", number);
		free(message.at);
	}
	dkim_close(library);
	return 0;
}
