#include "repo/verify.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <tuple>

#include "repo/frame_scan.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/pack.h"
#include "repo/summary_store.h"
#include "repo/tombstone.h"
#include "repo/tree.h"
#include "repo/wal_store.h"
#include "repo/wal_tail.h"
#include "repo/workers.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr size_t kListed = 1000;
constexpr uint64_t kPlainLimit = 64 << 10;

// --- what is known of one lineage
// ------------------------------------------------------------------------------------

struct PackState {
  uint64_t bytes = 0;
  bool read = false;             // whole
  bool broken_from_set = false;  // the pack cannot be followed past a frame
  uint32_t broken_from = 0;
  std::set<uint32_t> broken;  // single frames
  bool reached = false;
  bool is_broken(uint32_t frame) const {
    return broken.contains(frame) || (broken_from_set && frame >= broken_from);
  }
  bool any_broken() const { return broken_from_set || !broken.empty(); }
};

using PackMap = std::map<PackId, PackState>;

struct LineageState {
  std::string cluster;
  Lineage lineage;
  LineageRepo repo;
  bool dumps;  // this is the place of the lineage's dumps, which has no registration of its own
  std::optional<ReaderLease> lease;
  bool registered;
  PackMap data;
  PackMap nodes;
  std::set<BackupId> cards;
  std::set<BackupId> manifests;
  std::optional<std::string> last_wal_file;  // of the listing, to see conflicts
  std::string last_wal_object;
  // References to whole frames of which they say something else.
  std::set<std::tuple<FrameRef, uint32_t, codec::Hash128>> bad_ranges;

  LineageState(LineageRepo place, bool is_dumps)
      : cluster(place.cluster()),
        lineage(place.lineage()),
        repo(std::move(place)),
        dumps(is_dumps),
        registered(is_dumps) {}
};

// The run that a reference belongs to, which is to be checked against the frame it names.
struct RangeCheck {
  const PackMap::value_type* pack;
  uint32_t frame;
  uint32_t length;
  uint64_t offset;
  uint32_t first_block;
  uint32_t count;
  codec::Hash128 hash;
};

// Which node frames were seen: one bit each.
class SeenNodes {
 public:
  bool first_time(const NodeRef& node) {
    std::vector<bool>& seen = bits_[node.frame.pack];
    uint32_t number = node.frame.place.number;
    if (seen.size() <= number) seen.resize(number + 1);
    if (seen[number]) return false;
    seen[number] = true;
    return true;
  }

 private:
  std::map<PackId, std::vector<bool>> bits_;
};

DamageKind kind_of(const Error& error) {
  switch (error.kind) {
    case ErrorKind::not_found:
      return DamageKind::missing;
    case ErrorKind::damaged:
    case ErrorKind::wrong_key:
    case ErrorKind::unsupported:
      return DamageKind::damaged;
    case ErrorKind::conflict:
      return DamageKind::conflict;
    default:
      return DamageKind::unreadable;
  }
}

// --- the verifier
// ----------------------------------------------------------------------------------------------------

class Verifier {
 public:
  Verifier(const Repository& repository, const VerifyOptions& options)
      : repository_(repository), options_(options), workers_(options.workers) {}

  Result<VerifyReport> run() {
    TRY(open_lineages());
    TRY(read_listing());
    for (auto& [prefix, lineage] : lineages_) TRY(verify_backups(*lineage));
    workers_.finish();
    TRY(stopped());
    for (auto& [prefix, lineage] : lineages_) {
      if (lineage->lease) TRY(lineage->lease->end());
    }
    std::sort(report_.damage.begin(), report_.damage.end(), [](const Damage& a, const Damage& b) {
      return std::tie(a.object, a.message) < std::tie(b.object, b.message);
    });
    return std::move(report_);
  }

 private:
  Status stopped() const { return options_.stop != nullptr ? options_.stop->check() : Status(); }
  storage::Store& store() const { return repository_.store(); }
  const Keyring& keys() const { return repository_.keys(); }

  // --- reporting: any thread ---

  void damage(const LineageState* lineage, DamageKind kind, std::string object, std::string message,
              std::vector<std::string> backups = {}) {
    std::lock_guard lock(mutex_);
    if (report_.damage.size() >= options_.damage_limit) {
      ++report_.damage_not_listed;
      return;
    }
    Damage entry{kind, std::move(object), std::move(message), {}, {}, std::move(backups)};
    if (lineage != nullptr) {
      entry.cluster = lineage->cluster;
      entry.lineage = lineage->lineage.to_string();
    }
    report_.damage.push_back(std::move(entry));
  }
  void damage(const LineageState* lineage, const std::string& object, const Error& error,
              std::vector<std::string> backups = {}) {
    std::string message = error.object.empty() || error.object == object
                              ? error.message
                              : cat(error.object, ": ", error.message);
    if (!error.cause.empty()) message += cat(": ", error.cause);
    damage(lineage, kind_of(error), object, std::move(message), std::move(backups));
  }

  void count_object(uint64_t bytes, uint64_t frames) {
    std::lock_guard lock(mutex_);
    ++report_.totals.objects;
    report_.totals.bytes += bytes;
    report_.totals.frames += frames;
    if (options_.progress) options_.progress(report_.totals);
  }

  void unknown(const std::string& name) {
    std::lock_guard lock(mutex_);
    if (report_.unknown.size() < kListed) report_.unknown.push_back(name);
  }

  // An object of the listing that is gone when it is opened was removed by its owner, not lost: what must be
  // there is found missing by what refers to it.
  bool vanished(const Error& error, const std::string& name) {
    if (error.kind != ErrorKind::not_found) return false;
    auto there = store().exists(name);
    return there && !*there;
  }

  // --- step 1: lineages, and leases on their backups ---

  Status open_lineages() {
    TRY_ASSIGN(std::vector<std::string> clusters, list_clusters(repository_));
    for (const std::string& cluster : clusters) {
      if (!options_.cluster.empty() && cluster != options_.cluster) continue;
      TRY_ASSIGN(std::vector<std::string> names, store().list_dirs(cat("clusters/", cluster, "/")));
      for (const std::string& name : names) {
        auto lineage = Lineage::parse(name);
        if (!lineage || lineage->to_string() != name) continue;  // its objects are reported as unknown
        LineageRepo repo(repository_, cluster, *lineage);
        open_place(repo.dumps(), true);
        open_place(std::move(repo), false);
      }
    }
    if (!options_.cluster.empty() && lineages_.empty()) {
      return make_error(ErrorKind::not_found, cat("cluster ", options_.cluster), "nothing is stored of it");
    }
    return {};
  }

  void open_place(LineageRepo repo, bool dumps) {
    auto state = std::make_unique<LineageState>(std::move(repo), dumps);
    if (options_.take_lease) take_lease(*state);
    lineages_.emplace(state->repo.prefix(), std::move(state));
  }

  // Without a lease verify still works: a backup that expires meanwhile is told from a broken one at the end.
  void take_lease(LineageState& lineage) {
    auto cards = list_cards(lineage.repo);
    auto condemned = read_condemned(lineage.repo);
    if (!cards || !condemned) return;  // damage, found again and reported by the listing
    std::vector<BackupId> references;
    for (const BackupId& id : *cards) {
      auto card = read_card(lineage.repo, id);
      if (card && card->state != BackupState::aborted && !condemned->condemns(id)) references.push_back(id);
    }
    if (references.empty()) return;
    LeaseOptions lease;
    lease.stop = options_.stop;
    auto held = ReaderLease::acquire(lineage.repo, "verify", std::move(references), lease);
    if (held) lineage.lease.emplace(std::move(*held));
  }

  Result<std::vector<BackupId>> list_cards(const LineageRepo& repo) const {
    std::vector<BackupId> ids;
    std::string prefix = repo.name("cards/");
    TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
      if (auto id = BackupId::parse(std::string_view(info.name).substr(prefix.size()))) ids.push_back(*id);
      return {};
    }));
    return ids;
  }

  // --- step 2: every object by its name ---

  Status read_listing() {
    std::string prefix = options_.cluster.empty() ? "" : cat("clusters/", options_.cluster, "/");
    auto listed = store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
      TRY(stopped());
      classify(info);
      return {};
    });
    workers_.drain();
    TRY(listed);
    for (auto& [name, lineage] : lineages_) {
      if (!lineage->registered) {
        damage(lineage.get(), DamageKind::missing, lineage->repo.name("lineage"),
               "the lineage's registration is missing");
      }
    }
    return stopped();
  }

  void classify(const storage::ObjectInfo& info) {
    if (info.name == "lifeboat.json" || info.name.starts_with("keys/")) {
      workers_.add([this, name = info.name] { check_plain(name); });
      return;
    }
    auto parts = split(info.name, '/');
    LineageState* lineage = nullptr;
    if (parts.size() >= 4 && parts[0] == "clusters") {
      bool dump = cat(parts[3], "/") == kDumpsFolder && parts.size() > 4;
      auto found = lineages_.find(cat("clusters/", parts[1], "/", parts[2], "/", dump ? kDumpsFolder : ""));
      if (found != lineages_.end()) lineage = found->second.get();
    }
    if (lineage == nullptr) return unknown(info.name);
    classify_below(*lineage, info, std::string_view(info.name).substr(lineage->repo.prefix().size()));
  }

  void classify_below(LineageState& lineage, const storage::ObjectInfo& info, std::string_view below) {
    std::string_view folder = below.substr(0, below.find('/'));
    std::string_view last = below.substr(below.rfind('/') + 1);
    size_t depth = split(below, '/').size();
    auto id = depth == 2 ? BackupId::parse(last) : std::nullopt;
    auto whole = [&](ObjectKind kind) { check_whole_later(lineage, info.name, kind); };

    if (below == "lineage" && !lineage.dumps) {
      lineage.registered = true;
      return whole(ObjectKind::lineage);
    }
    if (folder == "cards" && id) {
      lineage.cards.insert(*id);
      return whole(ObjectKind::card);
    }
    if (folder == "manifests" && id) {
      lineage.manifests.insert(*id);
      return whole(ObjectKind::manifest);
    }
    if (folder == "attempts" && id) return whole(ObjectKind::attempt);
    if (folder == "tombstones" && id) return whole(ObjectKind::tombstone);
    if (folder == "evidence" && id) return whole(ObjectKind::evidence);
    if (folder == "leases" && depth == 3) return whole(ObjectKind::lease);
    if (parse_summary_object_name(below)) return whole(ObjectKind::summary);
    if (auto piece = parse_tail_object_name(below)) {
      piece->object = info.name;
      piece->stored_bytes = info.size;
      workers_.add([this, &lineage, tail = std::move(*piece)] { check_tail(lineage, tail); });
      return;
    }
    if (auto pack = parse_pack_name(below); pack && below == pack_name(pack->pack, pack->kind)) {
      PackMap& packs = pack->kind == PackKind::data ? lineage.data : lineage.nodes;
      auto entry = packs.try_emplace(pack->pack).first;
      entry->second.bytes = info.size;
      // Data packs wait for the references that are to be checked on the way.
      if (pack->kind == PackKind::nodes) {
        workers_.add([this, &lineage, entry] { scan_pack(lineage, *entry, PackKind::nodes, {}, 0); });
      }
      return;
    }
    if (auto object = parse_wal_object_name(below)) {
      if (lineage.last_wal_file == object->file.text) {
        damage(&lineage, DamageKind::conflict, info.name,
               cat("stored with different content as ", lineage.last_wal_object));
      }
      lineage.last_wal_file = object->file.text;
      lineage.last_wal_object = info.name;
      object->object = info.name;
      object->stored_bytes = info.size;
      workers_.add([this, &lineage, wal = std::move(*object)] { check_wal(lineage, wal); });
      return;
    }
    unknown(info.name);
  }

  void check_plain(const std::string& name) {
    if (stopped()) {
      auto content = store().get(name, kPlainLimit);
      auto checked = content ? strip_check_line(name, *content) : Result<std::string>(content.error());
      if (!checked && !vanished(checked.error(), name)) damage(nullptr, name, checked.error());
      count_object(content ? content->size() : 0, 0);
    }
  }

  void check_whole_later(LineageState& lineage, const std::string& name, ObjectKind kind) {
    workers_.add([this, &lineage, name, kind] {
      if (!stopped()) return;
      uint64_t frames = 0;
      uint64_t bytes = 0;
      auto checked = read_whole(name, kind, frames, bytes);
      if (!checked && !vanished(checked.error(), name)) damage(&lineage, name, checked.error());
      count_object(bytes, frames);
    });
  }

  Status read_whole(const std::string& name, ObjectKind kind, uint64_t& frames, uint64_t& bytes) {
    TRY_ASSIGN(FrameReader reader, FrameReader::open(store(), keys(), kind, name));
    bytes = reader.size();
    Bytes content;
    Frame frame;
    do {
      TRY(stopped());
      TRY(reader.next(frame));
      ++frames;
      if (is_structured(kind)) content.insert(content.end(), frame.plain.begin(), frame.plain.end());
    } while (!frame.last);
    TRY(reader.expect_end());
    switch (kind) {
      case ObjectKind::card:
        return drop_value(decode_card(name, content));
      case ObjectKind::manifest:
        return drop_value(decode_manifest(name, content));
      case ObjectKind::tombstone:
        return drop_value(decode_tombstone(name, content));
      case ObjectKind::lease:
        if (name.ends_with(".end")) return {};
        return drop_value(decode_lease(name, content));
      default:
        return {};
    }
  }
  static bool is_structured(ObjectKind kind) {
    return kind == ObjectKind::card || kind == ObjectKind::manifest || kind == ObjectKind::tombstone ||
           kind == ObjectKind::lease;
  }
  template <typename T>
  static Status drop_value(Result<T> result) {
    if (!result) return std::move(result).error();
    return {};
  }

  void check_wal(LineageState& lineage, const WalObject& object) {
    if (!stopped()) return;
    uint64_t frames = 0;
    auto read = WalStore(lineage.repo).get_object(object, [&](ByteView) -> Status {
      ++frames;
      return stopped();
    });
    if (!read && stopped() && !vanished(read.error(), object.object))
      damage(&lineage, object.object, read.error());
    {
      std::lock_guard lock(mutex_);
      ++report_.totals.wal_files;
    }
    count_object(object.stored_bytes, frames);
  }

  void check_tail(LineageState& lineage, const TailPiece& piece) {
    if (!stopped()) return;
    uint64_t frames = 0;
    auto read = TailStore(lineage.repo).read(piece, [&](ByteView) -> Status {
      ++frames;
      return stopped();
    });
    if (!read && stopped() && !vanished(read.error(), piece.object))
      damage(&lineage, piece.object, read.error());
    count_object(piece.stored_bytes, frames);
  }

  // --- packs ---

  // Reads a pack from the first byte to the last and checks `ranges` (sorted by frame) on the way.
  void scan_pack(LineageState& lineage, PackMap::value_type& pack, PackKind kind,
                 std::span<const RangeCheck> ranges, uint32_t block_size) {
    if (!stopped()) return;
    std::string name = lineage.repo.name(pack_name(pack.first, kind));
    PackState& state = pack.second;
    state.read = true;
    uint64_t frames = 0;
    auto scanned = scan_frames(lineage, name, pack, kind, ranges, block_size, frames);
    if (!scanned && !(vanished(scanned.error(), name) && ranges.empty())) {
      if (!stopped()) return;
      state.broken_from_set = true;
      damage(&lineage, name, scanned.error());
    }
    {
      std::lock_guard lock(mutex_);
      ++report_.totals.packs;
    }
    count_object(state.bytes, frames);
  }

  Status scan_frames(LineageState& lineage, const std::string& name, PackMap::value_type& pack, PackKind kind,
                     std::span<const RangeCheck> ranges, uint32_t block_size, uint64_t& frames) {
    PackState& state = pack.second;
    ObjectKind object_kind = kind == PackKind::data ? ObjectKind::data_pack : ObjectKind::node_pack;
    TRY_ASSIGN(FrameReader reader, FrameReader::open(store(), keys(), object_kind, name));
    FrameScan scan(reader);
    Frame frame;
    FramePlace footer;
    std::vector<std::pair<uint32_t, uint32_t>> seen;  // stored length and plain size of each frame
    auto broken_here = [&](uint32_t number, std::string message) {
      state.broken_from_set = true;
      state.broken_from = number;
      damage(&lineage, DamageKind::damaged, name, std::move(message));
      return Status();
    };
    while (true) {
      TRY(stopped());
      auto number = static_cast<uint32_t>(seen.size());
      TRY_ASSIGN(auto place, scan.place());
      if (!place)
        return broken_here(number, cat("ends at ", reader.size(), " without its footer, or frame ", number,
                                       " has an impossible length"));
      frame.last = false;
      auto decoded = scan.decode(*place, frame);
      ++frames;
      if (!decoded) {
        // Without its plain content nothing tells whether this was the last frame; the length fields lead on.
        state.broken.insert(number);
        damage(&lineage, kind_of(decoded.error()), name, decoded.error().message);
        seen.push_back({place->length, UINT32_MAX});
        bool was_footer = reader.size() - scan.position() <= kPackTrailerSize;
        if (was_footer) {
          // Were length fields broken too, more frames are lost than were counted.
          state.broken_from_set = true;
          state.broken_from = number;
          return {};
        }
        continue;
      }
      if (frame.last) {
        footer = *place;
        break;
      }
      seen.push_back({place->length, static_cast<uint32_t>(frame.plain.size())});
      for (; !ranges.empty() && ranges.front().frame <= number; ranges = ranges.subspan(1)) {
        if (ranges.front().frame < number) continue;  // of a broken frame, reported already
        check_range(lineage, name, pack, ranges.front(), *place, frame.plain, block_size);
      }
    }
    for (const RangeCheck& range : ranges) {
      if (range.frame < seen.size()) continue;  // of a broken frame, reported already
      damage(&lineage, DamageKind::missing, name,
             cat("holds ", seen.size(), " frames, but frame ", range.frame, " is referred to"));
      state.broken.insert(range.frame);
    }
    return check_footer(lineage, name, reader, footer, frame.plain, seen);
  }

  Status check_footer(LineageState& lineage, const std::string& name, FrameReader& reader,
                      const FramePlace& place, ByteView plain,
                      const std::vector<std::pair<uint32_t, uint32_t>>& seen) {
    uint64_t end = place.offset + place.length;
    uint8_t trailer[kPackTrailerSize] = {};
    if (reader.size() - end != sizeof trailer) {
      damage(&lineage, DamageKind::damaged, name,
             cat(reader.size() - end, " bytes after its footer, expected ", sizeof trailer));
      return {};
    }
    TRY(reader.read_raw(end, trailer));
    if (load_le<uint32_t>(trailer) != place.length || load_le<uint32_t>(trailer + 4) != place.number) {
      damage(&lineage, DamageKind::damaged, name, "its trailer does not point to its footer");
    }
    TRY_ASSIGN(PackFooter footer, parse_pack_footer(name, plain));
    uint64_t at = kHeaderSize;
    bool equal = footer.frames.size() == seen.size();
    for (size_t i = 0; equal && i < seen.size(); ++i) {
      const PackFrame& listed = footer.frames[i];
      equal = listed.place.length == seen[i].first && listed.place.offset == at + 4 &&
              (seen[i].second == UINT32_MAX || listed.plain_size == seen[i].second);
      at += 4 + uint64_t{seen[i].first};
    }
    if (!equal) damage(&lineage, DamageKind::inconsistent, name, "its footer does not describe its frames");
    return {};
  }

  void check_range(LineageState& lineage, const std::string& name, PackMap::value_type& pack,
                   const RangeCheck& range, const FramePlace& place, ByteView plain, uint32_t block_size) {
    std::string problem;
    uint64_t from = uint64_t{range.first_block} * block_size;
    uint64_t size = uint64_t{range.count} * block_size;
    if (range.offset != place.offset || range.length != place.length) {
      problem = cat("lies at ", place.offset, " and not at ", range.offset);
    } else if (from >= plain.size() || plain.size() - from + block_size <= size) {
      problem = cat("holds ", plain.size(), " bytes, but blocks ", range.first_block, " to ",
                    uint64_t{range.first_block} + range.count, " are referred to");
    } else if (codec::hash128(plain.subspan(from, std::min<uint64_t>(size, plain.size() - from))) !=
               range.hash) {
      problem = cat("blocks ", range.first_block, " to ", uint64_t{range.first_block} + range.count,
                    " are not what a backup refers to");
    }
    if (problem.empty()) return;
    damage(&lineage, DamageKind::inconsistent, name, cat("frame ", range.frame, " ", problem));
    std::lock_guard lock(mutex_);
    lineage.bad_ranges.insert({FrameRef{pack.first, place}, range.first_block, range.hash});
  }

  // Only the frames that `ranges` name, of a pack that was read whole before.
  void check_ranges(LineageState& lineage, PackMap::value_type& pack, std::span<const RangeCheck> ranges,
                    uint32_t block_size) {
    std::string name = lineage.repo.name(pack_name(pack.first, PackKind::data));
    auto reader = FrameReader::open(store(), keys(), ObjectKind::data_pack, name);
    if (!reader) {
      damage(&lineage, name, reader.error());
      pack.second.broken_from_set = true;
      return;
    }
    Frame frame;
    int64_t loaded = -1;  // number of the frame at hand
    FramePlace place;
    for (const RangeCheck& range : ranges) {
      if (!stopped()) return;
      if (pack.second.is_broken(range.frame)) continue;
      place = {range.frame, range.offset, range.length};
      if (loaded != range.frame) {
        loaded = -1;
        if (auto read = reader->read(place, frame); !read) {
          damage(&lineage, name, read.error());
          pack.second.broken.insert(range.frame);
          continue;
        }
        loaded = range.frame;
      }
      check_range(lineage, name, pack, range, place, frame.plain, block_size);
    }
  }

  // --- step 3: trees of the backups that count, and data packs through their references ---

  // What is kept of a backup: its manifest has thousands of tables' estimates, and backups may be many (T42).
  struct Counting {
    BackupId id;
    NodeRef root;
    uint32_t block_size = 0;
    bool whole = true;
  };

  Status verify_backups(LineageState& lineage) {
    TRY(stopped());
    auto condemned = read_condemned(lineage.repo);
    if (!condemned) {  // a damaged tombstone, reported by its own name
      condemned = Condemned();
    }
    std::vector<std::pair<BackupId, bool>> verdicts;
    std::vector<Counting> counting;
    for (const BackupId& id : lineage.cards) {
      auto card = read_card(lineage.repo, id);
      if (!card && vanished(card.error(), lineage.repo.name(cat("cards/", id.text)))) continue;
      if (!card) {
        verdicts.push_back({id, false});
        continue;
      }
      if (card->state == BackupState::aborted || condemned->condemns(id)) continue;
      auto manifest = read_manifest(lineage.repo, id);
      if (!manifest) {
        verdicts.push_back({id, false});
        std::string name = lineage.repo.name(cat("manifests/", id.text));
        if (!lineage.manifests.contains(id)) damage(&lineage, name, manifest.error(), {id.text});
        continue;
      }
      bool same = manifest->card.start_lsn == card->start_lsn && manifest->card.stop_lsn == card->stop_lsn &&
                  manifest->card.timeline == card->timeline && manifest->card.state == card->state;
      if (!same) {
        damage(&lineage, DamageKind::inconsistent, lineage.repo.name(cat("manifests/", id.text)),
               "does not agree with its card", {id.text});
      }
      counting.push_back({id, manifest->root, manifest->block_size, same});
    }

    TRY(check_trees(lineage, counting));
    for (auto& pack : lineage.data) {
      if (!pack.second.read)
        workers_.add([this, &lineage, &pack] { scan_pack(lineage, pack, PackKind::data, {}, 0); });
    }
    workers_.drain();
    TRY(stopped());
    attribute(lineage, counting);
    for (const Counting& backup : counting) verdicts.push_back({backup.id, backup.whole});
    std::sort(verdicts.begin(), verdicts.end());
    for (const auto& [id, whole] : verdicts) {
      report_.backups.push_back({lineage.cluster, lineage.lineage, id, whole, lineage.dumps});
    }
    report_.totals.backups += verdicts.size();
    return list_unreferenced(lineage, counting);
  }

  Status check_trees(LineageState& lineage, std::vector<Counting>& counting) {
    TreeReader reader(lineage.repo);
    SeenNodes seen;
    std::vector<RangeCheck> batch;
    uint32_t block_size = 0;
    auto flush = [&]() -> Status {
      check_batch(lineage, batch, block_size);
      batch.clear();
      return stopped();
    };
    for (Counting& backup : counting) {
      if (block_size != backup.block_size) TRY(flush());
      block_size = backup.block_size;
      if (block_size == 0) {
        damage(&lineage, DamageKind::damaged, lineage.repo.name(cat("manifests/", backup.id.text)),
               "its block size is 0", {backup.id.text});
        backup.whole = false;
        continue;
      }
      TreeReader::Visitor visitor;
      visitor.descend = [&](const NodeRef& node) {
        if (auto pack = lineage.nodes.find(node.frame.pack); pack != lineage.nodes.end())
          pack->second.reached = true;
        return seen.first_time(node);
      };
      visitor.data = [&](const BlockRef& ref) -> Status {
        auto pack = lineage.data.find(ref.frame.pack);
        if (pack == lineage.data.end()) {
          return make_error(ErrorKind::not_found,
                            lineage.repo.name(pack_name(ref.frame.pack, PackKind::data)),
                            cat("is missing; backup ", backup.id.text, " refers to it"));
        }
        pack->second.reached = true;
        const FramePlace& place = ref.frame.place;
        batch.push_back({&*pack, place.number, place.length, place.offset, ref.first_block - ref.before,
                         ref.before + ref.count + ref.after, ref.hash});
        ++report_references_;
        if (batch.size() >= options_.reference_budget) return flush();
        return {};
      };
      auto visited = reader.visit(backup.root, visitor);
      TRY(stopped());
      if (!visited) {
        damage(&lineage, kind_of(visited.error()), visited.error().object, visited.error().message,
               {backup.id.text});
        backup.whole = false;
      }
    }
    TRY(flush());
    std::lock_guard lock(mutex_);
    report_.totals.references = report_references_;
    return {};
  }

  void check_batch(LineageState& lineage, std::vector<RangeCheck>& batch, uint32_t block_size) {
    std::sort(batch.begin(), batch.end(), [](const RangeCheck& a, const RangeCheck& b) {
      if (a.pack != b.pack) return a.pack->first < b.pack->first;
      return a.frame < b.frame;
    });
    for (size_t begin = 0; begin < batch.size();) {
      size_t end = begin;
      while (end < batch.size() && batch[end].pack == batch[begin].pack) ++end;
      auto pack = lineage.data.find(batch[begin].pack->first);
      std::span<const RangeCheck> ranges(&batch[begin], end - begin);
      workers_.add([this, &lineage, pack, ranges, block_size] {
        if (pack->second.read) {
          check_ranges(lineage, *pack, ranges, block_size);
        } else {
          scan_pack(lineage, *pack, PackKind::data, ranges, block_size);
        }
      });
      begin = end;
    }
    workers_.drain();
  }

  // --- step 4: which backups a damage concerns ---

  // Walks each tree whole again, when something is broken: shared nodes were looked at only once before.
  void attribute(LineageState& lineage, std::vector<Counting>& counting) {
    for (Damage& entry : report_.damage) {
      std::string_view object = entry.object;
      if (!object.starts_with(lineage.repo.prefix()) || !entry.backups.empty()) continue;
      std::string_view below = object.substr(lineage.repo.prefix().size());
      bool own = below.starts_with("cards/") || below.starts_with("manifests/");
      if (own) entry.backups.emplace_back(below.substr(below.find('/') + 1));
    }
    std::set<std::string> broken_packs;
    for (const PackMap* packs : {&lineage.data, &lineage.nodes}) {
      for (const auto& [id, state] : *packs) {
        if (state.any_broken()) broken_packs.insert(id.backup.text);
      }
    }
    bool tree_damage =
        std::any_of(counting.begin(), counting.end(), [](const Counting& b) { return !b.whole; });
    if (broken_packs.empty() && lineage.bad_ranges.empty() && !tree_damage) return;
    std::map<std::string, std::set<std::string>> concerned;  // object → backups
    for (Counting& backup : counting) {
      TreeReader reader(lineage.repo);
      SeenNodes seen;
      TreeReader::Visitor visitor;
      visitor.descend = [&](const NodeRef& node) { return seen.first_time(node); };
      visitor.data = [&](const BlockRef& ref) -> Status {
        auto pack = lineage.data.find(ref.frame.pack);
        bool broken = pack == lineage.data.end() || pack->second.is_broken(ref.frame.place.number) ||
                      lineage.bad_ranges.contains({ref.frame, ref.first_block - ref.before, ref.hash});
        if (broken) {
          backup.whole = false;
          concerned[lineage.repo.name(pack_name(ref.frame.pack, PackKind::data))].insert(backup.id.text);
        }
        return stopped();
      };
      auto visited = reader.visit(backup.root, visitor);
      if (!visited && stopped()) {
        backup.whole = false;
        concerned[object_of_node(lineage, visited.error())].insert(backup.id.text);
      }
    }
    for (Damage& entry : report_.damage) {
      auto found = concerned.find(entry.object);
      if (found == concerned.end()) continue;
      std::set<std::string> backups(entry.backups.begin(), entry.backups.end());
      backups.insert(found->second.begin(), found->second.end());
      entry.backups.assign(backups.begin(), backups.end());
    }
  }

  // Errors of tree nodes name a pack and a frame below the lineage.
  static std::string object_of_node(const LineageState& lineage, const Error& error) {
    std::string object = error.object.substr(0, error.object.find(' '));
    return object.starts_with(lineage.repo.prefix()) ? object : lineage.repo.name(object);
  }

  Status list_unreferenced(LineageState& lineage, const std::vector<Counting>& counting) {
    std::set<BackupId> spoken_for;  // running attempts, and what expiry takes care of
    if (auto leases = read_leases(lineage.repo)) {
      for (const LeaseState& lease : *leases) {
        if (lease.kind == LeaseKind::backup) spoken_for.insert(BackupId{lease.record.id});
      }
    }
    for (const Counting& backup : counting) spoken_for.erase(backup.id);
    auto note = [&](const std::string& name) {
      if (report_.unreferenced.size() < kListed) report_.unreferenced.push_back(name);
    };
    for (PackKind kind : {PackKind::data, PackKind::nodes}) {
      for (const auto& [id, state] : kind == PackKind::data ? lineage.data : lineage.nodes) {
        if (!state.reached && !spoken_for.contains(id.backup)) note(lineage.repo.name(pack_name(id, kind)));
      }
    }
    for (const BackupId& id : lineage.manifests) {
      if (!lineage.cards.contains(id) && !spoken_for.contains(id))
        note(lineage.repo.name(cat("manifests/", id.text)));
    }
    return {};
  }

  const Repository& repository_;
  const VerifyOptions& options_;
  std::mutex mutex_;  // guards report_ while workers run
  VerifyReport report_;
  uint64_t report_references_ = 0;
  std::map<std::string, std::unique_ptr<LineageState>> lineages_;
  Workers workers_;  // last: its threads use all of the above
};

}  // namespace

std::string_view to_string(DamageKind kind) {
  switch (kind) {
    case DamageKind::unreadable:
      return "unreadable";
    case DamageKind::damaged:
      return "damaged";
    case DamageKind::missing:
      return "missing";
    case DamageKind::conflict:
      return "conflict";
    case DamageKind::inconsistent:
      return "inconsistent";
  }
  return "damaged";
}

Result<VerifyReport> verify_repository(const Repository& repository, const VerifyOptions& options) {
  return Verifier(repository, options).run();
}

}  // namespace lifeboat::repo
