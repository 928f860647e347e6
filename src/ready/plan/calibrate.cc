// A short calibration on this host, for a plan before there is any drill.
//
// Restoring is imitated by what a restore does with every block: open, decompress, write, and in the end
// fsync. Replay is not imitated but done: a throw-away server writes WAL, is ended without a checkpoint, and
// recovers.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "codec/codec.h"
#include "pg/server/launcher.h"
#include "ready/plan/rates.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr size_t kBlock = 128 << 10;
constexpr int kBlocks = 512;  // 64 MiB a worker
constexpr int kMostWorkers = 8;
constexpr double kFastestReplay = 1e9;
constexpr int64_t kServerTimeoutMs = 60'000;
constexpr std::string_view kRole = "calibration";

double seconds_since(int64_t began_us) {
  return std::max(1e-3, static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6);
}

// Rows as a table has them: half text that compresses, half digests that do not.
Bytes block_like_a_table() {
  Bytes block(kBlock);
  codec::random_bytes(MutableBytes(block).first(kBlock / 2));
  const std::string_view text = "the quick brown fox jumps over the lazy dog; ";
  for (size_t at = kBlock / 2; at < kBlock; ++at) block[at] = static_cast<uint8_t>(text[at % text.size()]);
  return block;
}

// One worker of a restore: what it wrote is on the disk when it returns.
Status write_restored(const std::string& path, const StopToken* stop) {
  const codec::SecretKey key = codec::SecretKey::random();
  codec::Sealer sealer(key);
  codec::Compressor compressor(codec::Compression::zstd, 3);
  const Bytes plain = block_like_a_table();
  Bytes packed(codec::Compressor::bound(kBlock));
  const auto outcome = compressor.compress(plain, packed);
  packed.resize(outcome.size);
  std::array<uint8_t, codec::kTagSize> tag{};
  sealer.seal(1, {}, packed, tag);
  codec::Decompressor decompressor;
  Bytes out(kBlock);
  TRY_ASSIGN(Fd file, open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  for (int i = 0; i < kBlocks; ++i) {
    if (stop != nullptr) TRY(stop->check());
    Bytes sealed = packed;
    if (!sealer.open(1, {}, sealed, tag))
      return make_error(ErrorKind::internal, path, "a block did not open again");
    TRY(decompressor.decompress(outcome.used, sealed, out));
    TRY(write_all(file.get(), out, path));
  }
  return fsync_file(file.get(), path);
}

// Of all workers together.
Result<double> restore_rate(const std::string& directory, int jobs, const StopToken* stop) {
  std::vector<Status> results(static_cast<size_t>(std::clamp(jobs, 1, kMostWorkers)));
  const int64_t began_us = Clock::system().monotonic_us();
  {
    std::vector<std::jthread> workers;
    for (size_t i = 0; i < results.size(); ++i)
      workers.emplace_back(
          [&, i] { results[i] = write_restored(join_path(directory, cat("restored-", i)), stop); });
  }
  for (Status& result : results) TRY(std::move(result));
  return static_cast<double>(kBlock) * kBlocks * static_cast<double>(results.size()) /
         seconds_since(began_us);
}

class ThrowAwayServer {
 public:
  // `sockets` is another directory: names of sockets are short (AF_UNIX), those of directories need not be.
  ThrowAwayServer(const CalibrationOptions& options, std::string directory, std::string sockets)
      : options_(options), directory_(std::move(directory)), sockets_(std::move(sockets)) {}

  // Bytes of WAL a second, and what start, end of recovery and promotion take whatever there is to replay.
  struct Replay {
    double rate = 0;
    double fixed_seconds = 0;
  };
  Result<Replay> measure() {
    TRY(make());
    TRY(start());
    Replay replay;
    TRY_ASSIGN(replay.fixed_seconds, recover());
    TRY_ASSIGN(double bytes, write_wal());
    TRY_ASSIGN(double seconds, recover());
    TRY(server_->stop(pg::StopMode::fast, kServerTimeoutMs));
    // Noise may make the two nearly equal; no host replays faster than this.
    replay.rate = std::min(bytes / std::max(1e-2, seconds - replay.fixed_seconds), kFastestReplay);
    return replay;
  }

 private:
  Status make() {
    ProcessSpec spec;
    spec.argv = {options_.bin.program("initdb"),
                 cat("--pgdata=", data()),
                 cat("--username=", kRole),
                 "--auth=trust",
                 "--encoding=UTF8",
                 "--locale=C",
                 "--no-sync"};
    RunOptions run;
    run.timeout_ms = kServerTimeoutMs;
    run.stop = options_.stop;
    TRY(run_checked(spec, run));
    return {};
  }

  std::string data() const { return join_path(directory_, "data"); }

  // As after a restore: from a state without a checkpoint through recovery to a new timeline.
  Result<double> recover() {
    TRY(server_->stop(pg::StopMode::immediate, kServerTimeoutMs));
    server_.reset();
    TRY(write_file_durable(join_path(data(), "recovery.signal"), {}, 0600));
    return start();
  }

  Result<double> start() {
    pg::LaunchOptions launch;
    launch.bin = options_.bin;
    launch.data_directory = data();
    launch.socket_directory = sockets_;
    launch.log_file = join_path(directory_, "log");
    launch.role = kRole;
    launch.settings = {{"archive_mode", "off"},       {"max_wal_size", "2GB"},
                       {"checkpoint_timeout", "1h"},  {"shared_buffers", "64MB"},
                       {"synchronous_commit", "off"}, {"autovacuum", "off"},
                       {"hot_standby", "off"},        {"restore_command", "false"}};
    launch.stop = options_.stop;
    const int64_t began_us = Clock::system().monotonic_us();
    TRY_ASSIGN(pg::PgServer server, pg::PgServer::start(std::move(launch)));
    server_.emplace(std::move(server));
    TRY_ASSIGN(pg::ServerState state, server_->wait({}, kServerTimeoutMs));
    if (state.phase != pg::ServerPhase::ready)
      return make_error(ErrorKind::failed, data(), "the throw-away server did not come up")
          .with_cause(state.last_error);
    return seconds_since(began_us);
  }

  // Inserts and updates with an index, as applications make them.
  Result<double> write_wal() {
    TRY_ASSIGN(pg::PgClient client, server_->connect("postgres"));
    TRY(client.exec("CHECKPOINT"));
    TRY_ASSIGN(pg::Rows before, client.query("SELECT pg_current_wal_insert_lsn() - '0/0'"));
    TRY(client.exec("CREATE TABLE public.work (id bigint PRIMARY KEY, owner int, note text)"));
    TRY(
        client.exec("INSERT INTO public.work SELECT i, i % 1000, repeat(md5(i::text), 3) FROM "
                    "generate_series(1, 250000) i"));
    TRY(client.exec("CREATE INDEX ON public.work (owner)"));
    TRY(client.exec("UPDATE public.work SET owner = owner + 1 WHERE id % 4 = 0"));
    TRY_ASSIGN(pg::Rows after, client.query("SELECT pg_current_wal_insert_lsn() - '0/0'"));
    // Writes all of it out; what a segment has behind its last record is nothing that is replayed.
    TRY(client.exec("SELECT pg_switch_wal()"));
    return static_cast<double>(after.i64(0, 0).value_or(0) - before.i64(0, 0).value_or(0));
  }

  const CalibrationOptions& options_;
  std::string directory_;
  std::string sockets_;
  std::optional<pg::PgServer> server_;
};

}  // namespace

Result<Calibration> calibrate(const CalibrationOptions& options, Timestamp now) {
  const std::string place = join_path(options.directory, temporary_name());
  TRY(create_dirs(place, 0700));
  Calibration found;
  found.rates.basis = RateBasis::calibration;
  found.rates.relative_error = kCalibrationError;
  found.rates.samples = 1;
  found.rates.newest = now;
  auto note = [&](const Error& error) {
    found.problem += cat(found.problem.empty() ? "" : "; ", error.to_string());
  };
  auto restore = restore_rate(place, options.jobs, options.stop);
  if (restore)
    found.rates.restore_bytes_per_second = *restore;
  else
    note(restore.error());
  auto sockets = TempDir::make("lifeboat-plan");
  if (!sockets) {
    note(sockets.error());
  } else {
    ThrowAwayServer server(options, place, sockets->path());
    auto replay = server.measure();
    if (replay) {
      found.rates.replay_bytes_per_second = replay->rate;
      found.rates.fixed_seconds = replay->fixed_seconds;
    } else {
      note(replay.error());
    }
  }
  TRY(remove_tree(place));
  if (options.stop != nullptr) TRY(options.stop->check());
  return found;
}

}  // namespace lifeboat::ready
