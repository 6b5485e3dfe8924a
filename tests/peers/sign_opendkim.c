/*
 * Signs many messages with libopendkim, for the tests of Postseal.
 *
 * sign_opendkim DOMAIN SELECTOR ALGORITHM CANONICALIZATION reads frames from standard input, each a decimal length, a
 * line feed and that many bytes. The first frame holds the private key (PEM), each further frame a message. Writes for
 * each message a frame with the message, signed, or `refused: ` and a reason.
 */
#define _GNU_SOURCE /* memmem, in the header */
#include "opendkim_frames.h"

static dkim_canon_t
canonicalization(const char *word, size_t length)
{
	if (length == 7 && memcmp(word, "relaxed", 7) == 0)
		return DKIM_CANON_RELAXED;
	if (length == 6 && memcmp(word, "simple", 6) == 0)
		return DKIM_CANON_SIMPLE;
	die("a canonicalization is simple or relaxed");
	return DKIM_CANON_UNKNOWN;
}

int
main(int count, char **arguments)
{
	struct bytes key, message;
	if (count != 5)
		die("needs a domain, a selector, an algorithm and a canonicalization");
	const char *slash = strchr(arguments[4], '/');
	if (slash == NULL)
		die("a canonicalization has two parts");
	dkim_canon_t of_header = canonicalization(arguments[4], (size_t) (slash - arguments[4]));
	dkim_canon_t of_body = canonicalization(slash + 1, strlen(slash + 1));
	dkim_alg_t algorithm =
	    strcmp(arguments[3], "ed25519-sha256") == 0 ? DKIM_SIGN_ED25519SHA256 : DKIM_SIGN_RSASHA256;
	if (!frame(&key))
		die("the input has no key");
	DKIM_LIB *library = dkim_init(NULL, NULL);
	if (library == NULL)
		die("the library does not start");

	while (frame(&message))
	{
		DKIM_STAT status;
		DKIM *dkim = dkim_sign(library, (const u_char *) "message", NULL, (dkim_sigkey_t) key.at,
		                       (const u_char *) arguments[2], (const u_char *) arguments[1], of_header, of_body,
		                       algorithm, -1, &status);
		if (dkim == NULL)
			die(dkim_getresultstr(status));
		status = feed(dkim, message);
		u_char *field;
		size_t length;
		if (status == DKIM_STAT_OK)
			status = dkim_getsighdr_d(dkim, strlen(DKIM_SIGNHEADER) + 2, &field, &length);
		if (status == DKIM_STAT_OK)
		{
			printf("%zu\n%s: ", strlen(DKIM_SIGNHEADER) + 2 + length + 2 + message.length, DKIM_SIGNHEADER);
			fwrite(field, 1, length, stdout);
			fwrite("\r\n", 1, 2, stdout);
			fwrite(message.at, 1, message.length, stdout);
		}
		else
		{
			const char *reason = dkim_geterror(dkim);
			if (reason == NULL)
				reason = dkim_getresultstr(status);
			printf("%zu\nrefused: %s", strlen("refused: ") + strlen(reason), reason);
		}
		dkim_free(dkim);
		free(message.at);
	}
	dkim_close(library);
	return 0;
}
