#include "repo/lease.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "repo/manifest.h"
#include "repo/tombstone.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

using nlohmann::ordered_json;

constexpr std::string_view kBackupFolder = "leases/backup/";
constexpr std::string_view kReaderFolder = "leases/reader/";
constexpr uint64_t kLeaseLimit = 1 << 20;
constexpr uint32_t kMaxSequence = 99'999'999;
constexpr int kAcquireTries = 8;

std::string padded(uint64_t number, size_t width) {
  std::string text = cat(number);
  if (text.size() < width) text.insert(0, width - text.size(), '0');
  return text;
}
std::string backup_lease_name(uint32_t sequence) {
  return cat(kBackupFolder, padded(sequence, 8));
}
std::string renewal_name(std::string_view base, uint32_t renewal) {
  return cat(base, ".", padded(renewal, 4));
}

std::string read_line_of(const std::string& path) {
  auto text = read_text(path, 64 << 10);
  return text ? std::string(trim(*text)) : std::string();
}

// State letter and start time of a process: /proc/<pid>/stat, fields 3 and 22 (proc(5)). The second field is
// the program's name in parentheses and may hold spaces and parentheses itself.
struct ProcStat {
  char state = '?';
  uint64_t start_ticks = 0;
};
std::optional<ProcStat> read_proc_stat(int64_t pid) {
  std::string text = read_line_of(cat("/proc/", pid, "/stat"));
  size_t close = text.rfind(')');
  if (close == std::string::npos || close + 2 >= text.size()) return std::nullopt;
  auto fields = split(std::string_view(text).substr(close + 2), ' ');  // the first is field 3
  if (fields.size() < 20 || fields[0].empty()) return std::nullopt;
  auto ticks = parse_u64(fields[19]);
  if (!ticks) return std::nullopt;
  return ProcStat{fields[0][0], *ticks};
}

ProcessIdentity identify_self() {
  ProcessIdentity self;
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) == 0) self.host = host;
  self.boot_id = read_line_of("/proc/sys/kernel/random/boot_id");
  struct stat facts{};
  if (stat("/proc/self/ns/pid", &facts) == 0) self.pid_namespace = facts.st_ino;
  self.pid = getpid();
  if (auto stat = read_proc_stat(self.pid)) self.start_ticks = stat->start_ticks;
  return self;
}

// --- the family of one lease, from names
// -------------------------------------------------------------------------

struct Family {
  std::string base;  // below the lineage
  uint32_t last_renewal = 0;
  bool ended = false;
  std::vector<std::string> objects;  // full names
  std::string newest() const { return last_renewal == 0 ? base : renewal_name(base, last_renewal); }
};

// Families below `folder`, by their base's last element. Names that are none of ours are left to verify.
Result<std::map<std::string, Family>> list_families(const LineageRepo& repo, std::string_view folder) {
  std::map<std::string, Family> families;
  std::string prefix = repo.name(folder);
  TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
    std::string_view last = std::string_view(info.name).substr(prefix.size());
    size_t dot = last.find('.');
    std::string key(last.substr(0, dot));
    Family& family = families[key];
    family.base = cat(folder, key);
    family.objects.push_back(info.name);
    if (dot == std::string_view::npos) return {};
    if (last.substr(dot) == ".end") {
      family.ended = true;
    } else if (auto number = parse_u64(last.substr(dot + 1)); number && *number <= UINT32_MAX) {
      family.last_renewal = std::max(family.last_renewal, static_cast<uint32_t>(*number));
    }
    return {};
  }));
  return families;
}

std::optional<uint32_t> parse_sequence(std::string_view key) {
  auto number = key.size() == 8 ? parse_u64(key) : std::nullopt;
  if (!number || *number == 0 || *number > kMaxSequence) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

// A family whose newest record is gone is one that is being removed, or whose removal broke off: it is over.
Result<LeaseState> read_family(const LineageRepo& repo, LeaseKind kind, const std::string& key,
                               const Family& family) {
  LeaseState state;
  state.kind = kind;
  if (kind == LeaseKind::backup) state.sequence = parse_sequence(key).value_or(0);
  state.objects = family.objects;
  state.ended = family.ended;
  std::string below = family.newest();
  auto plain = repo.get(ObjectKind::lease, below, kLeaseLimit);
  if (!plain && plain.error().kind == ErrorKind::not_found) {
    state.ended = true;
    return state;
  }
  TRY(plain);
  TRY_ASSIGN(state.record, decode_lease(repo.name(below), *plain));
  return state;
}

Result<bool> card_exists(const LineageRepo& repo, const BackupId& id) {
  return repo.store().exists(repo.name(cat("cards/", id.text)));
}

Error busy_error(const LineageRepo& repo, const LeaseRecord& holder) {
  return make_error(ErrorKind::busy, cat("cluster ", repo.cluster()),
                    cat("a backup is running on host ", holder.process.host, ", process ", holder.process.pid,
                        ", since ", holder.started.to_string(), " (", holder.id, ")"))
      .with_hint(cat("wait for it; if that host is lost, its lease ends at ", holder.expires.to_string()));
}

// --- holding a lease
// -----------------------------------------------------------------------------------------------

// What both kinds of leases do while they are held: write the record again under the next renewal's name
// before it expires. One lock for the record and the deadline; the renewing thread and the owner share it.
class Holder {
 public:
  Holder(const LineageRepo& repo, LeaseOptions options, std::string base, LeaseRecord record,
         int64_t valid_until_us)
      : repo_(repo),
        options_(std::move(options)),
        base_(std::move(base)),
        record_(std::move(record)),
        valid_until_us_(valid_until_us) {
    if (options_.background) thread_ = std::thread([this] { run(); });
  }
  ~Holder() { stop(); }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Status check() const {
    std::lock_guard lock(mutex_);
    if (!options_.guards.check_expiry) return {};
    if (lost_ || clock().monotonic_us() > valid_until_us_) return lost_error();
    return {};
  }

  Status renew() {
    std::lock_guard lock(mutex_);
    return renew_locked();
  }

  Status set_wal_from(WalPosition position) {
    std::lock_guard lock(mutex_);
    record_.wal_from = position;
    return renew_locked();
  }

  // Newest first: what is left after a crash in between expires no later.
  Status remove() {
    std::lock_guard lock(mutex_);
    for (uint32_t n = renewals_; n > 0; --n) TRY(repo_.store().remove(repo_.name(renewal_name(base_, n))));
    return repo_.store().remove(repo_.name(base_));
  }

  Timestamp expires() const {
    std::lock_guard lock(mutex_);
    return record_.expires;
  }
  std::vector<BackupId> references() const {
    std::lock_guard lock(mutex_);
    return record_.references;
  }
  const std::string& base() const { return base_; }
  const LineageRepo& repo() const { return repo_; }
  const LeaseOptions& options() const { return options_; }

 private:
  Clock& clock() const { return options_.clock != nullptr ? *options_.clock : Clock::system(); }

  Error lost_error() const {
    return make_error(ErrorKind::timeout, repo_.name(base_), "the lease was not renewed before it expired")
        .with_cause(last_problem_);
  }

  Status renew_locked() {
    int64_t asked_us = clock().monotonic_us();
    TRY_ASSIGN(Timestamp now, repo_.store().now());
    // A lease that has lapsed is never revived: somebody may have acted on it.
    if (options_.guards.check_expiry && (lost_ || now > record_.expires)) {
      lost_ = true;
      return lost_error();
    }
    LeaseRecord renewed = record_;
    renewed.expires = now.plus_us(options_.timing.lease_us);
    ++renewals_;  // a name whose creation failed may exist all the same, so it is not tried again
    TRY(repo_.put(ObjectKind::lease, renewal_name(base_, renewals_), as_bytes(encode_lease(renewed))));
    record_ = std::move(renewed);
    valid_until_us_ = asked_us + options_.timing.lease_us;
    return {};
  }

  // The background thread: renews in time, tries again sooner after a failure, and gives up when the lease is
  // lost.
  void run() {
    std::unique_lock lock(mutex_);
    int64_t pause_us = options_.timing.renew_us;
    while (!stopping_) {
      wake_.wait_for(lock, std::chrono::microseconds(pause_us), [&] { return stopping_; });
      if (stopping_) return;
      auto renewed = renew_locked();
      if (renewed) {
        pause_us = options_.timing.renew_us;
        continue;
      }
      last_problem_ = renewed.error().to_string();
      if (lost_ || clock().monotonic_us() > valid_until_us_) {
        lost_ = true;
        if (options_.stop != nullptr) options_.stop->request();
        return;
      }
      pause_us = std::max<int64_t>(options_.timing.renew_us / 10, 1000);
    }
  }

  LineageRepo repo_;
  LeaseOptions options_;
  std::string base_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  LeaseRecord record_;
  int64_t valid_until_us_;  // local monotonic clock
  uint32_t renewals_ = 0;
  bool lost_ = false;
  bool stopping_ = false;
  std::string last_problem_;
  std::thread thread_;
};

struct NewLease {
  LeaseRecord record;
  int64_t valid_until_us = 0;
};

Result<NewLease> new_record(const LineageRepo& repo, const LeaseOptions& options, std::string_view purpose,
                            std::vector<BackupId> references) {
  Clock& clock = options.clock != nullptr ? *options.clock : Clock::system();
  NewLease lease;
  lease.valid_until_us = clock.monotonic_us() + options.timing.lease_us;
  TRY_ASSIGN(lease.record.started, repo.store().now());
  lease.record.purpose = purpose;
  lease.record.process = options.self ? *options.self : ProcessIdentity::self();
  lease.record.expires = lease.record.started.plus_us(options.timing.lease_us);
  lease.record.references = std::move(references);
  return lease;
}

}  // namespace

ProcessIdentity ProcessIdentity::self() {
  return identify_self();
}

bool process_is_gone(const ProcessIdentity& process) {
  ProcessIdentity here = identify_self();
  bool same_place = !here.boot_id.empty() && here.pid_namespace != 0 && here.host == process.host &&
                    here.boot_id == process.boot_id && here.pid_namespace == process.pid_namespace;
  if (!same_place || process.pid <= 0) return false;
  if (kill(static_cast<pid_t>(process.pid), 0) != 0) return errno == ESRCH;
  auto stat = read_proc_stat(process.pid);
  if (!stat) return false;  // hidden from us, or going this very moment
  bool ended = stat->state == 'Z' || stat->state == 'X';
  return ended || (process.start_ticks != 0 && stat->start_ticks != process.start_ticks);
}

std::string encode_lease(const LeaseRecord& record) {
  ordered_json references = ordered_json::array();
  for (const BackupId& id : record.references) references.push_back(id.text);
  ordered_json json = {{"purpose", record.purpose},
                       {"id", record.id},
                       {"host", record.process.host},
                       {"boot_id", record.process.boot_id},
                       {"pid_namespace", record.process.pid_namespace},
                       {"pid", record.process.pid},
                       {"start_ticks", record.process.start_ticks},
                       {"started_us", record.started.unix_us},
                       {"expires_us", record.expires.unix_us},
                       {"references", std::move(references)}};
  if (record.wal_from) {
    json["wal_from"] = {{"timeline", record.wal_from->timeline.value},
                        {"lsn", record.wal_from->lsn.to_string()}};
  }
  // A host name is whatever its administrator made it; bytes that are not UTF-8 are replaced.
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

Result<LeaseRecord> decode_lease(std::string_view object, ByteView plain) {
  auto damaged = [&] { return make_error(ErrorKind::damaged, std::string(object), "not a lease"); };
  try {
    ordered_json json = ordered_json::parse(as_text(plain));
    LeaseRecord record;
    record.purpose = json.at("purpose").get<std::string>();
    record.id = json.at("id").get<std::string>();
    record.process.host = json.at("host").get<std::string>();
    record.process.boot_id = json.at("boot_id").get<std::string>();
    record.process.pid_namespace = json.at("pid_namespace").get<uint64_t>();
    record.process.pid = json.at("pid").get<int64_t>();
    record.process.start_ticks = json.at("start_ticks").get<uint64_t>();
    record.started = {json.at("started_us").get<int64_t>()};
    record.expires = {json.at("expires_us").get<int64_t>()};
    for (const auto& text : json.at("references")) {
      auto id = BackupId::parse(text.get<std::string>());
      if (!id) return damaged();
      record.references.push_back(*id);
    }
    if (json.contains("wal_from")) {
      const auto& from = json.at("wal_from");
      auto lsn = Lsn::parse(from.at("lsn").get<std::string>());
      if (!lsn) return damaged();
      record.wal_from = WalPosition{{from.at("timeline").get<uint32_t>()}, *lsn};
    }
    return record;
  } catch (const ordered_json::exception& problem) {
    return std::move(damaged()).with_cause(problem.what());
  }
}

Result<std::vector<LeaseState>> read_leases(const LineageRepo& repo) {
  std::vector<LeaseState> leases;
  for (LeaseKind kind : {LeaseKind::backup, LeaseKind::reader}) {
    TRY_ASSIGN(auto families, list_families(repo, kind == LeaseKind::backup ? kBackupFolder : kReaderFolder));
    for (const auto& [key, family] : families) {
      if (kind == LeaseKind::backup && !parse_sequence(key)) continue;
      TRY_ASSIGN(LeaseState state, read_family(repo, kind, key, family));
      leases.push_back(std::move(state));
    }
  }
  return leases;
}

Result<LeaseVerdict> judge_lease(const LeaseState& lease, Timestamp now,
                                 const std::function<Result<bool>(const BackupId&)>& has_card,
                                 const std::function<bool(const ProcessIdentity&)>& is_gone) {
  bool lapsed = lease.ended || now > lease.record.expires || is_gone(lease.record.process);
  if (lease.kind == LeaseKind::reader) return lapsed ? LeaseVerdict::over : LeaseVerdict::live;
  if (lease.ended) return LeaseVerdict::over;
  TRY_ASSIGN(bool card, has_card(BackupId{lease.record.id}));
  if (card) return LeaseVerdict::over;
  return lapsed ? LeaseVerdict::dead : LeaseVerdict::live;
}

Status end_backup_lease(const LineageRepo& repo, uint32_t sequence) {
  auto ended = repo.put(ObjectKind::lease, cat(backup_lease_name(sequence), ".end"), as_bytes("{}"));
  if (!ended && ended.error().kind == ErrorKind::conflict) return {};
  return ended;
}

Result<bool> poison_attempt(const LineageRepo& repo, const BackupId& id, std::string_view reason,
                            std::string_view host, Timestamp now) {
  Card card;
  card.id = id;
  card.state = BackupState::aborted;
  card.reason = reason;
  card.host = host;
  card.started = now;
  card.stopped = now;
  auto written = write_card(repo, card);
  if (written) return true;
  if (written.error().kind != ErrorKind::conflict) return std::move(written).error();
  TRY_ASSIGN(Card found, read_card(repo, id));
  return found.state == BackupState::aborted;
}

// --- BackupLease
// -----------------------------------------------------------------------------------------------------

struct BackupLease::State {
  State(const LineageRepo& repo, LeaseOptions options, BackupId backup, uint32_t number, NewLease lease)
      : id(std::move(backup)),
        sequence(number),
        holder(repo, std::move(options), backup_lease_name(number), std::move(lease.record),
               lease.valid_until_us) {}
  BackupId id;
  uint32_t sequence;
  Holder holder;
};

BackupLease::BackupLease(std::unique_ptr<State> state) : state_(std::move(state)) {}
BackupLease::BackupLease(BackupLease&&) noexcept = default;
BackupLease& BackupLease::operator=(BackupLease&&) noexcept = default;
BackupLease::~BackupLease() = default;

namespace {

// The end of the chain; sequence 0 when there is none yet.
Result<LeaseState> newest_backup_lease(const LineageRepo& repo) {
  TRY_ASSIGN(auto families, list_families(repo, kBackupFolder));
  for (auto it = families.rbegin(); it != families.rend(); ++it) {
    if (parse_sequence(it->first)) return read_family(repo, LeaseKind::backup, it->first, it->second);
  }
  return LeaseState();
}

}  // namespace

Result<BackupLease> BackupLease::acquire(const LineageRepo& repo, const BackupId& id,
                                         std::vector<BackupId> references, LeaseOptions options) {
  auto is_gone = options.is_gone ? options.is_gone : process_is_gone;
  Clock& clock = options.clock != nullptr ? *options.clock : Clock::system();
  int64_t asked_us = clock.monotonic_us();

  // The lease is visible: look whether what it refers to may be relied on.
  auto finish = [&](uint32_t sequence, NewLease lease) -> Result<BackupLease> {
    BackupLease held(std::make_unique<State>(repo, options, id, sequence, std::move(lease)));
    if (!options.guards.check_references) return held;
    auto usable = check_references(repo, references);
    if (usable) return held;
    TRY(held.abort(usable.error().to_string()));
    return std::move(usable).error();
  };

  for (int tries = 0; tries < kAcquireTries; ++tries) {
    TRY_ASSIGN(LeaseState newest, newest_backup_lease(repo));
    if (newest.sequence != 0 && !newest.ended) {
      TRY_ASSIGN(Timestamp now, repo.store().now());
      TRY_ASSIGN(
          LeaseVerdict verdict,
          judge_lease(newest, now, [&](const BackupId& other) { return card_exists(repo, other); }, is_gone));
      if (verdict == LeaseVerdict::live && tries > 0 && newest.record.id == id.text) {
        // Our own creation, which was repeated after an answer got lost.
        return finish(newest.sequence, NewLease{newest.record, asked_us + options.timing.lease_us});
      }
      if (verdict == LeaseVerdict::live) return busy_error(repo, newest.record);
      if (verdict == LeaseVerdict::dead) {
        std::string reason = cat("its process ", newest.record.process.pid, " on host ",
                                 newest.record.process.host, " ended, or lost its lease, without finishing");
        TRY(poison_attempt(repo, BackupId{newest.record.id}, reason, newest.record.process.host, now));
      }
    }
    if (newest.sequence >= kMaxSequence) {
      return make_error(ErrorKind::failed, repo.name(kBackupFolder), "no lease number is left");
    }
    uint32_t sequence = newest.sequence + 1;
    TRY_ASSIGN(NewLease lease, new_record(repo, options, "backup", references));
    lease.record.id = id.text;
    auto created =
        repo.put(ObjectKind::lease, backup_lease_name(sequence), as_bytes(encode_lease(lease.record)));
    if (!created && created.error().kind == ErrorKind::conflict) continue;  // somebody was faster: look again
    TRY(created);
    return finish(sequence, std::move(lease));
  }
  return make_error(
      ErrorKind::busy, cat("cluster ", repo.cluster()),
      cat("other backups took the lease ", kAcquireTries, " times while this one asked for it"));
}

uint64_t BackupLease::sequence() const {
  return state_->sequence;
}

Status BackupLease::set_start(Timeline timeline, Lsn start, SegmentSize segment_size) {
  TRY(state_->holder.set_wal_from({timeline, start}));
  // Only now that everybody can see the start: what is condemned from here on knows of it.
  TRY_ASSIGN(Condemned condemned, read_condemned(state_->holder.repo()));
  auto first = condemned.first_wal(SegmentName::containing(timeline, start, segment_size), std::nullopt);
  if (first) {
    return make_error(ErrorKind::precondition, cat("backup ", state_->id.text),
                      cat("begins at ", start.to_string(), ", but WAL from segment ", first->to_string(),
                          " on is expiring"))
        .with_hint("is this a standby far behind, or an old primary? Expire once more, then try again");
  }
  return {};
}

Status BackupLease::check() const {
  return state_->holder.check();
}

Status BackupLease::confirm() {
  const Holder& holder = state_->holder;
  TRY(holder.check());
  if (holder.options().guards.check_expiry) {
    TRY_ASSIGN(Timestamp now, holder.repo().store().now());
    if (now > holder.expires()) {
      return make_error(
          ErrorKind::timeout, holder.repo().name(holder.base()),
          cat("the lease expired at ", holder.expires().to_string(), ", it is now ", now.to_string()));
    }
  }
  TRY_ASSIGN(bool card, card_exists(holder.repo(), state_->id));
  if (card) {
    return make_error(ErrorKind::conflict, cat("backup ", state_->id.text),
                      "was declared dead by another host");
  }
  if (!holder.options().guards.check_references) return {};
  return check_references(holder.repo(), holder.references());
}

Status BackupLease::renew() {
  return state_->holder.renew();
}

Status BackupLease::abort(std::string_view reason) {
  state_->holder.stop();
  const LineageRepo& repo = state_->holder.repo();
  TRY_ASSIGN(Timestamp now, repo.store().now());
  const auto& self = state_->holder.options().self;
  TRY(poison_attempt(repo, state_->id, reason, self ? self->host : ProcessIdentity::self().host, now));
  return {};
}

// --- ReaderLease
// -----------------------------------------------------------------------------------------------------

struct ReaderLease::State {
  std::unique_ptr<Holder> holder;  // none: the repository cannot be written
  std::string id;
};

ReaderLease::ReaderLease(std::unique_ptr<State> state) : state_(std::move(state)) {}
ReaderLease::ReaderLease(ReaderLease&&) noexcept = default;
ReaderLease& ReaderLease::operator=(ReaderLease&&) noexcept = default;
ReaderLease::~ReaderLease() = default;

Result<ReaderLease> ReaderLease::acquire(const LineageRepo& repo, std::string_view purpose,
                                         std::vector<BackupId> references, LeaseOptions options) {
  // A store that cannot be written may not tell its time either.
  auto made = new_record(repo, options, purpose, references);
  bool read_only = !made && made.error().kind == ErrorKind::permission;
  if (!made && !read_only) return std::move(made).error();
  NewLease lease = read_only ? NewLease() : std::move(*made);
  uint32_t random = 0;
  codec::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&random), sizeof random));
  lease.record.id = BackupId::make(lease.record.started, random).text;
  std::string base = cat(kReaderFolder, lease.record.id);
  if (!read_only) {
    auto created = repo.put(ObjectKind::lease, base, as_bytes(encode_lease(lease.record)));
    read_only = !created && created.error().kind == ErrorKind::permission;
    if (!created && !read_only) return std::move(created).error();
  }
  ReaderLease held(std::make_unique<State>());
  if (!read_only) {
    held.state_->id = lease.record.id;
    held.state_->holder =
        std::make_unique<Holder>(repo, options, base, std::move(lease.record), lease.valid_until_us);
  }
  if (options.guards.check_references) {
    if (auto usable = check_references(repo, references); !usable) {
      TRY(held.end());
      return std::move(usable).error();
    }
  }
  return held;
}

bool ReaderLease::held() const {
  return state_->holder != nullptr;
}

Status ReaderLease::check() const {
  return held() ? state_->holder->check() : Status();
}

Status ReaderLease::renew() {
  return held() ? state_->holder->renew() : Status();
}

Status ReaderLease::end() {
  if (!held()) return {};
  Holder& holder = *state_->holder;
  holder.stop();
  auto ended = holder.repo().put(ObjectKind::lease, cat(holder.base(), ".end"), as_bytes("{}"));
  if (!ended && ended.error().kind == ErrorKind::conflict) return {};
  return ended;
}

Status ReaderLease::remove() {
  if (!held()) return {};
  state_->holder->stop();
  return state_->holder->remove();
}

const std::string& ReaderLease::id() const {
  return state_->id;
}

}  // namespace lifeboat::repo
