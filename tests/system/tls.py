"""A server that is reached over TCP with TLS and passwords only, as on another host: a certificate of its own, verified in
full, and passwords from a pass file. Its Unix socket stays open to the test itself."""

import socket

from harness import give, run


def serve(server):
    """Turns it on; restarts the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key, certificate = server.place / "server.key", server.place / "server.crt"
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate])
    key.chmod(0o600)
    (server.data / "pg_hba.conf").write_text("local all,replication all trust\n"
                                             "hostssl all,replication all 127.0.0.1/32 scram-sha-256\n")
    server.stop()
    server.port = port
    server.overrides = {**server.overrides, "listen_addresses": "127.0.0.1", "password_encryption": "scram-sha-256",
                        "ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
    server.place.chmod(0o755)  # the certificate is for everybody
    server.start()


def conninfo(server, user, password):
    """How somebody on another host connects."""
    passfile = pass_file(server)
    passfile.write_text(f"*:*:*:{user}:{password}\n")
    passfile.chmod(0o600)
    give(passfile)
    return (f"host=localhost hostaddr=127.0.0.1 port={server.port} user='{user}' sslmode=verify-full "
            f"sslrootcert={server.place}/server.crt passfile={passfile}")


def pass_file(server):
    return server.place / "pass"
