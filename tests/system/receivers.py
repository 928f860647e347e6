"""Who is told of alerts, for real: an HTTP server and an SMTP server of the standard library, on loopback, that keep what they
are sent. Each has certificates of its own where TLS is asked for."""

import base64
import contextlib
import http.server
import json
import socket
import ssl
import threading
from email import message_from_bytes, policy

from harness import give, new_directory, run


def certificate():
    """(certificate, key) for localhost, in a new directory."""
    place = new_directory("tls", mode=0o755)
    crt, key = place / "server.crt", place / "server.key"
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", crt])
    return crt, key


def tls_context(crt, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    return context


class HttpReceiver:
    """Answers POST with `status` (200) and keeps (path, headers, document). `answers` is a list of (status, headers) that are
    used up first. With tls=True it speaks HTTPS with a certificate of its own (`ca`)."""

    def __init__(self, *, tls=False):
        self.requests, self.answers = [], []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                if status < 300:
                    request = (self.path, dict(self.headers), json.loads(body))
                    receiver.requests.append(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.ca = None
        if tls:
            self.ca, key = certificate()
            self._server.socket = tls_context(self.ca, key).wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def take(self):
        """What came since the last call."""
        taken, self.requests = self.requests, []
        return taken

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class SmtpServer:
    """Speaks SMTP (RFC 5321) with STARTTLS, or TLS from the beginning (implicit=True), and AUTH PLAIN for one user. Nothing is
    accepted without TLS and login unless `open` is set. Keeps (from, to, message)."""

    def __init__(self, *, user="alerts", password="s3cret-of-mail", implicit=False, starttls=True, open=False):
        self.user, self.password, self.implicit, self.starttls, self.open = user, password, implicit, starttls, open
        self.mails, self.commands = [], []
        self.ca, key = certificate()
        self._context = tls_context(self.ca, key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"{'smtps' if implicit else 'smtp'}://localhost:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def take(self):
        taken, self.mails = self.mails, []
        return taken

    def close(self):
        self._socket.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._session, args=(connection,), daemon=True).start()

    def _session(self, connection):
        connection.settimeout(20)
        with contextlib.suppress(OSError, ValueError), connection:
            if self.implicit:
                connection = self._context.wrap_socket(connection, server_side=True)
            _Session(self, connection, secure=self.implicit).run()


class _Session:
    def __init__(self, server, connection, secure):
        self.server, self.connection, self.secure = server, connection, secure
        self.file = connection.makefile("rb")
        self.logged_in = False
        self.sender, self.recipients = None, []

    def say(self, text):
        self.connection.sendall(text.encode() + b"\r\n")

    def run(self):
        self.say("220 localhost ESMTP test")
        while True:
            line = self.file.readline()
            if not line:
                return
            words = line.decode().strip().split(" ", 1)
            command, rest = words[0].upper(), words[1] if len(words) > 1 else ""
            self.server.commands.append(command)
            if command == "QUIT":
                self.say("221 bye")
                return
            getattr(self, "do_" + command, self.unknown)(rest)

    def unknown(self, _rest):
        self.say("502 not implemented")

    def do_EHLO(self, _rest):
        extensions = ["localhost", "8BITMIME"]
        if self.server.starttls and not self.secure:
            extensions.append("STARTTLS")
        if self.secure:
            extensions.append("AUTH PLAIN")
        for extension in extensions[:-1]:
            self.say(f"250-{extension}")
        self.say(f"250 {extensions[-1]}")

    def do_HELO(self, _rest):
        self.say("250 localhost")

    def do_STARTTLS(self, _rest):
        self.say("220 go ahead")
        self.connection = self.server._context.wrap_socket(self.connection, server_side=True)
        self.file = self.connection.makefile("rb")
        self.secure = True

    def do_AUTH(self, rest):
        kind, _, initial = rest.partition(" ")
        if not self.secure or kind.upper() != "PLAIN":
            return self.say("504 not so")
        if not initial:
            self.say("334 ")
            initial = self.file.readline().decode().strip()
        _, user, password = base64.b64decode(initial).decode().split("\0")
        self.logged_in = (user, password) == (self.server.user, self.server.password)
        self.say("235 welcome" if self.logged_in else "535 wrong user or password")

    def do_MAIL(self, rest):
        if not self.server.open and not (self.secure and self.logged_in):
            return self.say("530 login first")
        self.sender, self.recipients = rest.partition(":")[2].split(" ")[0], []
        self.say("250 ok")

    def do_RCPT(self, rest):
        self.recipients.append(rest.partition(":")[2])
        self.say("250 ok")

    def do_RSET(self, _rest):
        self.say("250 ok")

    def do_DATA(self, _rest):
        self.say("354 end with .")
        lines = []
        while True:
            line = self.file.readline()
            if line == b".\r\n":
                break
            if not line.endswith(b"\r\n"):
                return self.say("550 lines end with CRLF")
            lines.append(line[1:] if line.startswith(b"..") else line)
        message = message_from_bytes(b"".join(lines), policy=policy.default)
        self.server.mails.append((self.sender, self.recipients, message))
        self.say("250 queued")


def secret_file(text, name="secret"):
    path = new_directory("secret") / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return give(path)
