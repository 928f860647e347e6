/*
 * archive_library for PostgreSQL 15 and later: hands each WAL file to the daemon (lifeboat serve) and waits until it
 * is durable in the repository. Nothing else: without a daemon a file stays for the next try, and the archiver says so.
 *
 *   archive_library = '/usr/local/lib/lifeboat/lifeboat_archive'
 *   lifeboat_archive.repo = 'file:///srv/backup'
 *   lifeboat_archive.cluster = 'main'
 *
 * The question and the answer are those of `wal push` (src/app/daemon/handover.cc, control.h): one line of JSON each. As
 * there, an answer counts only when the daemon runs as our user or as root (SO_PEERCRED, unix(7)).
 *
 * The interface is src/include/archive/archive_module.h of 16 and later, src/include/postmaster/pgarch.h of 15.
 */
#include "postgres.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#if PG_VERSION_NUM >= 160000
#include "archive/archive_module.h"
#else
#include "postmaster/pgarch.h"
#endif
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/json.h"

PG_MODULE_MAGIC;

#define ANSWER_LIMIT 65536
#define POLL_MS 500

static char *repository = NULL;
static char *cluster = NULL;
static char *socket_path = NULL;

void _PG_init(void);

void
_PG_init(void)
{
	DefineCustomStringVariable("lifeboat_archive.repo", "URL of the repository, as the daemon has it.", NULL,
							   &repository, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("lifeboat_archive.cluster", "Name of the cluster in the repository.", NULL,
							   &cluster, "main", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("lifeboat_archive.socket", "The daemon's local socket.", NULL,
							   &socket_path, "/run/lifeboat/serve.sock", PGC_SIGHUP, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("lifeboat_archive");
}

static void
add_member(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, "%s\"%s\":", json->len > 1 ? "," : "", name);
	escape_json(json, value);
}

/* Only our own user's daemon, or root's, may say that WAL is durable. */
static bool
is_trusted(int connection)
{
	struct ucred peer;
	socklen_t	size = sizeof(peer);

	if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return false;
	return peer.uid == geteuid() || peer.uid == 0;
}

static int
connect_to_daemon(void)
{
	struct sockaddr_un address;
	int			connection;

	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	if (strlen(socket_path) >= sizeof(address.sun_path))
	{
		ereport(WARNING, (errmsg("lifeboat_archive.socket is too long for a socket's path")));
		return -1;
	}
	strcpy(address.sun_path, socket_path);
	connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection >= 0 && connect(connection, (struct sockaddr *) &address, sizeof(address)) == 0 &&
		is_trusted(connection))
		return connection;
	ereport(WARNING,
			(errmsg("no daemon of this user answers at \"%s\": %m", socket_path),
			 errhint("Is lifeboat serve running? It must run as the server's user.")));
	if (connection >= 0)
		close(connection);
	return -1;
}

static bool
send_all(int connection, const char *text, size_t size)
{
	while (size > 0)
	{
		ssize_t		sent = send(connection, text, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		if (sent <= 0)
			return false;
		text += sent;
		size -= (size_t) sent;
	}
	return true;
}

/* Waits as long as the daemon works; a daemon that ends closes the connection. */
static bool
read_answer(int connection, StringInfo answer)
{
	for (;;)
	{
		struct pollfd waiting = {connection, POLLIN, 0};
		char		buffer[4096];
		ssize_t		got;

		CHECK_FOR_INTERRUPTS();
		if (poll(&waiting, 1, POLL_MS) <= 0)
			continue;
		got = recv(connection, buffer, sizeof(buffer), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || answer->len + got > ANSWER_LIMIT)
			return false;
		appendBinaryStringInfo(answer, buffer, (int) got);
		if (memchr(buffer, '\n', (size_t) got) != NULL)
			return true;
	}
}

static bool
ask(const char *question, StringInfo answer)
{
	int			connection = connect_to_daemon();
	bool		answered = false;

	if (connection < 0)
		return false;
	/* CHECK_FOR_INTERRUPTS may leave: the descriptor is closed all the same. */
	PG_TRY();
	{
		answered = send_all(connection, question, strlen(question)) && read_answer(connection, answer);
	}
	PG_FINALLY();
	{
		close(connection);
	}
	PG_END_TRY();
	if (!answered)
		ereport(WARNING, (errmsg("the daemon at \"%s\" did not answer to the end", socket_path)));
	return answered;
}

static bool
hand_over(const char *file, const char *path)
{
	StringInfoData question;
	StringInfoData answer;

	initStringInfo(&question);
	appendStringInfoChar(&question, '{');
	add_member(&question, "op", "push");
	add_member(&question, "repo", repository);
	add_member(&question, "cluster", cluster);
	add_member(&question, "path", path);
	add_member(&question, "working_directory", DataDir);
	add_member(&question, "pgdata", "");
	add_member(&question, "state_directory", "");
	appendStringInfoString(&question, "}\n");
	initStringInfo(&answer);
	if (!ask(question.data, &answer))
		return false;
	if (strncmp(answer.data, "{\"stored\":", 10) == 0)
		return true;
	ereport(WARNING, (errmsg("lifeboat did not store \"%s\"", file), errdetail_internal("%s", answer.data)));
	return false;
}

static bool
is_configured(void)
{
	return repository[0] != '\0';
}

#if PG_VERSION_NUM >= 160000

static bool
check_configured(ArchiveModuleState *state)
{
	return is_configured();
}

static bool
archive_file(ArchiveModuleState *state, const char *file, const char *path)
{
	return hand_over(file, path);
}

static const ArchiveModuleCallbacks callbacks = {
	.check_configured_cb = check_configured,
	.archive_file_cb = archive_file,
};

const ArchiveModuleCallbacks *
_PG_archive_module_init(void)
{
	return &callbacks;
}

#else

void
_PG_archive_module_init(ArchiveModuleCallbacks *callbacks)
{
	callbacks->check_configured_cb = is_configured;
	callbacks->archive_file_cb = hand_over;
}

#endif
