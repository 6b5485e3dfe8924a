/*
 * What the programs around libopendkim share: reading frames, each a decimal length, a line feed and that many bytes, and
 * giving a message to the library. The file that includes this one defines _GNU_SOURCE first, for memmem.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <opendkim/dkim.h>

struct bytes {
	char *at; /* length bytes and a NUL that does not count */
	size_t length;
};

static void
die(const char *what)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

/* Reads one frame; returns 0 at the end of input. */
static int
frame(struct bytes *out)
{
	char line[32];
	if (fgets(line, sizeof line, stdin) == NULL)
		return 0;
	out->length = strtoul(line, NULL, 10);
	out->at = malloc(out->length + 1);
	if (out->at == NULL)
		die("no memory for a frame");
	if (fread(out->at, 1, out->length, stdin) != out->length)
		die("a frame is shorter than its length");
	out->at[out->length] = '\0';
	return 1;
}

/* Gives the message to the library: each field without its final CRLF, then the body. */
static DKIM_STAT
feed(DKIM *dkim, struct bytes message)
{
	DKIM_STAT status;
	char *at = message.at, *end = message.at + message.length;
	while (at < end && !(end - at >= 2 && at[0] == '\r' && at[1] == '\n'))
	{
		char *stop = at; /* where the field ends: at a CRLF that no blank follows */
		for (;;)
		{
			stop = memmem(stop, (size_t) (end - stop), "\r\n", 2);
			if (stop == NULL)
			{
				stop = end;
				break;
			}
			if (stop + 2 >= end || (stop[2] != ' ' && stop[2] != '\t'))
				break;
			stop += 2;
		}
		status = dkim_header(dkim, (u_char *) at, (size_t) (stop - at));
		if (status != DKIM_STAT_OK)
			return status;
		at = stop + 2 < end ? stop + 2 : end;
	}
	status = dkim_eoh(dkim);
	if (status != DKIM_STAT_OK)
		return status;
	if (end - at >= 2)
		at += 2;
	if (at < end)
	{
		status = dkim_body(dkim, (u_char *) at, (size_t) (end - at));
		if (status != DKIM_STAT_OK)
			return status;
	}
	return dkim_eom(dkim, NULL);
}
