"""A second implementation, written from docs/format.md alone, reads what the program wrote: tests/support/decode_repository.py
brings an encrypted backup back bit for bit, and PostgreSQL recovers from it."""

import shutil

from harness import SOURCE, Cluster, SystemTest, checksums, give, main, new_directory, run, skip, tree

PYTHON = "/usr/bin/python3"  # Debian's, for which its packages are
DECODER = SOURCE / "tests/support/decode_repository.py"


class Decoder(SystemTest):
    def setUp(self):
        super().setUp()
        probe = run([PYTHON, "-c", "import xxhash, cryptography, lz4.block, zstandard"], check=False)
        if probe.code != 0:
            skip(f"the decoder's Python modules are missing: {probe.err.strip().splitlines()[-1]}")
        # The tests' account may not be able to read the source tree.
        self.decoder = new_directory("decoder", mode=0o755) / "decode_repository.py"
        shutil.copyfile(DECODER, self.decoder)
        give(self.decoder)

    def decode(self, lb, to, *options):
        return run([PYTHON, self.decoder, lb.repo_path, "--to", to, *options], timeout=300)

    def check_backup(self, options, decoder_options):
        server = self.cluster(major=15)
        lb = self.lifeboat(server, options=options)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.tablespace("inside", in_place=True)
        server.psql("CREATE TABLE t TABLESPACE inside AS SELECT g AS n, md5(g::text) AS what FROM generate_series(1, 20000) g")
        lb("backup", live=True).ok()
        server.wait_archived()

        decoded = new_directory("decoded") / "d"
        self.decode(lb, decoded, *decoder_options)
        restored = new_directory("restored") / "data"
        lb("restore", "--to", restored, "--target", "immediate").ok()
        theirs, ours = tree(decoded / "pgdata"), tree(restored)
        # What a restore adds or rewrites on purpose, and what the decoder leaves to its user.
        own = {"postgresql.auto.conf", "recovery.signal", "backup_manifest"}
        for name in sorted((set(theirs) | set(ours)) - own):
            if name.startswith("pg_wal/"):
                continue
            self.assertIn(name, theirs)
            self.assertIn(name, ours)
            self.assertEqual(theirs[name][2:], ours[name][2:], name)
        self.recover(decoded, server)

    def test_an_encrypted_dump_comes_back_without_the_program(self):
        server = self.cluster(major=15)
        key = new_directory("key") / "key"
        lb = self.lifeboat(server, options=["--key-file", key])
        lb("init", "--yes", live=True).ok()
        # Several leaves of a block map.
        server.psql("CREATE DATABASE shop")
        server.psql("CREATE TABLE t AS SELECT g AS n, repeat(md5(g::text), 30) AS what FROM generate_series(1, 180000) g", "shop")
        lb("dump", "create", "--database", "shop", "--format", "directory", live=True).ok()
        decoded, ours = new_directory("decoded") / "d", new_directory("ours") / "d"
        self.decode(lb, decoded, "--key-file", key, "--dump", "latest")
        lb("dump", "restore", "latest", "--to", ours).ok()
        (theirs,) = (decoded / "databases").iterdir()
        self.assertEqual({n: f[2:] for n, f in tree(theirs / "directory").items()},
                         {n: f[2:] for n, f in tree(ours / "shop.directory").items()})
        self.assertEqual((decoded / "globals.sql").read_bytes(), (ours / "globals.sql").read_bytes())
        self.assertEqual((theirs / "database.sql").read_bytes(), (ours / "shop.database.sql").read_bytes())
        run([PYTHON, self.decoder, lb.repo_path, "--check", "--key-file", key], timeout=300)

    def recover(self, decoded, server):
        pgdata = decoded / "pgdata"
        run(["cp", "-r", *sorted((decoded / "wal").iterdir()), pgdata / "pg_wal"])
        run(["chmod", "-R", "u+rwX,go=", pgdata])
        copy = Cluster.attach(pgdata, 15, conf={"archive_mode": "off", "allow_in_place_tablespaces": "on"}, start=True)
        self.assertEqual(copy.value("SELECT count(*), sum(n) FROM t"), server.value("SELECT count(*), sum(n) FROM t"))
        copy.stop()
        checksums(copy)

    def test_encrypted_backup_comes_back_without_the_program(self):
        key = new_directory("k") / "key"
        self.check_backup(["--key-file", str(key)], ["--key-file", key])

    def test_plain_backup_comes_back_without_the_program(self):
        self.check_backup([], [])


if __name__ == "__main__":
    main()
