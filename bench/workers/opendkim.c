/*
 * libopendkim for `make bench-dkim`; src/worker.rs says how it is spoken to.
 *
 * A message is cut into fields while it is measured, as whoever calls the library has to do. The library takes the
 * private key and the key record as text, each time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <opendkim/dkim.h>

struct bytes {
	char *at; /* length bytes and a NUL that does not count */
	size_t length;
};

enum { MESSAGES = 3, MAX_FIELDS = 32, MAX_FIELD = 8192 };

static struct bytes pem, record, domain, selector;
static struct bytes messages[MESSAGES], signed_messages[MESSAGES];
static char fields[MESSAGES][MAX_FIELD];
static DKIM_LIB *library;

static void
die(const char *what)
{
	fprintf(stderr, "opendkim worker: %s\n", what);
	exit(1);
}

static struct bytes
frame(void)
{
	char line[32];
	struct bytes out;
	if (fgets(line, sizeof line, stdin) == NULL)
		die("no frame");
	out.length = strtoul(line, NULL, 10);
	out.at = malloc(out.length + 1);
	if (out.at == NULL || fread(out.at, 1, out.length, stdin) != out.length)
		die("a frame is shorter than its length");
	out.at[out.length] = '\0';
	return out;
}

static DKIM_STAT
key_lookup(DKIM *dkim, DKIM_SIGINFO *signature, unsigned char *buffer, size_t size)
{
	(void) dkim;
	(void) signature;
	if (record.length >= size)
		return DKIM_STAT_NORESOURCE;
	memcpy(buffer, record.at, record.length + 1);
	return DKIM_STAT_OK;
}

/* Hands a message over: each field without its line end, then the body. */
static DKIM_STAT
feed(DKIM *dkim, struct bytes message)
{
	char *at = message.at, *end = message.at + message.length;
	DKIM_STAT status;
	while (at < end && *at != '\r') {
		char *lf = at;
		do {
			lf = memchr(lf + 1, '\n', (size_t) (end - lf - 1));
			if (lf == NULL)
				die("a header without end");
		} while (lf + 1 < end && (lf[1] == ' ' || lf[1] == '\t'));
		status = dkim_header(dkim, (unsigned char *) at, (size_t) (lf - 1 - at));
		if (status != DKIM_STAT_OK)
			return status;
		at = lf + 1;
	}
	at += 2;
	status = dkim_eoh(dkim);
	if (status == DKIM_STAT_OK)
		status = dkim_body(dkim, (unsigned char *) at, (size_t) (end - at));
	return status;
}

static void
sign(int place)
{
	DKIM_STAT status;
	DKIM *dkim = dkim_sign(library, (unsigned char *) "bench", NULL, (unsigned char *) pem.at,
	                       (unsigned char *) selector.at, (unsigned char *) domain.at, DKIM_CANON_RELAXED,
	                       DKIM_CANON_RELAXED, DKIM_SIGN_RSASHA256, -1, &status);
	if (dkim == NULL || feed(dkim, messages[place]) != DKIM_STAT_OK || dkim_eom(dkim, NULL) != DKIM_STAT_OK)
		die("does not sign");
	if (dkim_getsighdr(dkim, (unsigned char *) fields[place], MAX_FIELD, strlen("DKIM-Signature: ")) != DKIM_STAT_OK)
		die("gives no field");
	dkim_free(dkim);
}

static int
verify(struct bytes message)
{
	DKIM_STAT status;
	DKIM *dkim = dkim_verify(library, (unsigned char *) "bench", NULL, &status);
	if (dkim == NULL)
		die("does not begin to verify");
	status = feed(dkim, message);
	if (status == DKIM_STAT_OK)
		status = dkim_eom(dkim, NULL);
	dkim_free(dkim);
	return status == DKIM_STAT_OK;
}

static long long
cpu_time(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (long long) time.tv_sec * 1000000000 + time.tv_nsec;
}

/* The library folds with bare line feeds. */
static void
tell_field(int place)
{
	static char whole[2 * MAX_FIELD];
	size_t length = (size_t) sprintf(whole, "DKIM-Signature: ");
	for (const char *at = fields[place]; *at != '\0'; at++) {
		if (*at == '\n' && whole[length - 1] != '\r')
			whole[length++] = '\r';
		whole[length++] = *at;
	}
	printf("%zu\n%.*s\r\n", length + 2, (int) length, whole);
}

int
main(void)
{
	static const char *names[MAX_FIELDS + 1];
	int count = 0;
	pem = frame();
	record = frame();
	domain = frame();
	selector = frame();
	struct bytes list = frame();
	for (char *name = strtok(list.at, ":"); name != NULL && count < MAX_FIELDS; name = strtok(NULL, ":"))
		names[count++] = name;
	for (int place = 0; place < MESSAGES; place++) {
		messages[place] = frame();
		signed_messages[place] = frame();
	}
	library = dkim_init(NULL, NULL);
	if (library == NULL || dkim_set_key_lookup(library, key_lookup) != DKIM_STAT_OK ||
	    dkim_options(library, DKIM_OP_SETOPT, DKIM_OPTS_SIGNHDRS, names, sizeof(char **)) != DKIM_STAT_OK)
		die("does not start");

	char line[64], word[16];
	while (fgets(line, sizeof line, stdin) != NULL) {
		int place = 0, times = 0;
		if (sscanf(line, "%15s %d %d", word, &place, &times) < 1 || place < 0 || place >= MESSAGES)
			die("no command");
		if (strcmp(word, "accepts") == 0) {
			struct bytes message = frame();
			puts(verify(message) ? "pass" : "fail");
			free(message.at);
		} else if (strcmp(word, "field") == 0) {
			tell_field(place);
		} else {
			int signs = strcmp(word, "sign") == 0;
			long long start = cpu_time();
			for (int i = 0; i < times; i++) {
				if (signs)
					sign(place);
				else if (!verify(signed_messages[place]))
					die("does not verify");
			}
			printf("%lld\n", cpu_time() - start);
		}
		fflush(stdout);
	}
	return 0;
}
