#include "pg/files/remote_source.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "pg/files/listing_rules.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

// One row of a long read. The server holds one of them several times over, and libpq the whole of one before
// it hands it out; measured, 128 kB to 512 kB are equally fast, and 256 kB is what a worker compresses at
// once.
constexpr uint64_t kPiece = 256 << 10;
// PostgreSQL's own tree is four deep. More is a symbolic link that leads back into it.
constexpr int kDeepest = 16;

constexpr std::string_view kReadSql =
    "SELECT pg_read_binary_file($1::text, r.at, r.size, true)"
    " FROM unnest($2::bigint[], $3::bigint[]) AS r(at, size)";
constexpr uint64_t kPlacesBytes = 1 << 20;  // of one answer
constexpr std::string_view kPlacesSql =
    "SELECT pg_read_binary_file(r.path, r.at, $3::bigint, true)"
    " FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS r(path, at, i) ORDER BY r.i";
// The directory itself is its entry ".", so that an empty one is not taken for one that has vanished.
constexpr std::string_view kListSql =
    "SELECT f.name, s.size, extract(epoch FROM s.modification)::bigint, s.isdir"
    " FROM pg_ls_dir($1::text, true, true) AS f(name),"
    " LATERAL pg_stat_file(CASE WHEN f.name = '..' THEN '.' ELSE $1::text || '/' || f.name END, true) AS s";
constexpr std::string_view kTablespacesSql =
    "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', "
    "'pg_global')";

std::string on_server(std::string_view path) {
  return path.empty() ? "." : std::string(path);
}

// As an element of an array's text form.
std::string array_element(std::string_view text) {
  std::string element = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') element += '\\';
    element += c;
  }
  return element + "\"";
}

// Ranges cut where a reader that goes from multiple to multiple of kPiece ends.
std::vector<FileRange> cut(std::span<const FileRange> ranges) {
  std::vector<FileRange> pieces;
  for (const FileRange& range : ranges) {
    const uint64_t end = range.offset + range.length;
    for (uint64_t at = range.offset; at < end;) {
      const uint64_t next = std::min(end, (at / kPiece + 1) * kPiece);
      pieces.push_back({at, next - at});
      at = next;
    }
  }
  return pieces;
}

// The pieces of one statement, taken in order.
class Stream {
 public:
  Stream(PgClient client, std::vector<FileRange> pieces)
      : client_(std::move(client)), pieces_(std::move(pieces)) {}

  Status start(const std::string& path) {
    std::string offsets = "{", sizes = "{";
    for (const FileRange& piece : pieces_) {
      offsets += cat(offsets.size() > 1 ? "," : "", piece.offset);
      sizes += cat(sizes.size() > 1 ? "," : "", piece.length);
    }
    const Param params[] = {path, offsets + "}", sizes + "}"};
    return client_.send(std::string(kReadSql), params, ResultFormat::binary);
  }

  // Is what follows next, or what a later piece begins with, at `offset`?
  bool continues_at(uint64_t offset) const {
    for (size_t i = current_; i < pieces_.size(); ++i)
      if (pieces_[i].offset + (i == current_ ? taken_ : 0) == offset) return true;
    return false;
  }

  // nullopt: the file is gone.
  Result<std::optional<size_t>> read(uint64_t offset, MutableBytes into) {
    size_t done = 0;
    while (done < into.size() && !finished()) {
      if (pieces_[current_].offset + taken_ != offset + done) {
        if (done != 0) break;
        TRY(skip_piece());  // of a file that ended before it
        continue;
      }
      TRY(load_row());
      if (row_.null(0, 0)) return std::optional<size_t>();
      const ByteView bytes = row_.bytes(0, 0);
      const size_t count = std::min(bytes.size() - taken_, into.size() - done);
      std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(taken_), count,
                  into.begin() + static_cast<ptrdiff_t>(done));
      taken_ += count;
      done += count;
      const bool ends_here = taken_ == bytes.size() && bytes.size() < pieces_[current_].length;
      if (taken_ == pieces_[current_].length || ends_here) leave_piece();
      if (ends_here) break;
    }
    return std::optional(done);
  }

  bool finished() const { return current_ == pieces_.size(); }
  PgClient&& take_client() { return std::move(client_); }

 private:
  Status load_row() {
    if (have_row_) return {};
    TRY_ASSIGN(auto row, client_.next_row());
    if (!row)
      return make_error(ErrorKind::server, "", "PostgreSQL answered with fewer rows than were asked for");
    row_ = std::move(*row);
    have_row_ = true;
    return {};
  }
  Status skip_piece() {
    TRY(load_row());
    leave_piece();
    return {};
  }
  void leave_piece() {
    row_ = Rows();
    have_row_ = false;
    taken_ = 0;
    ++current_;
  }

  PgClient client_;
  std::vector<FileRange> pieces_;
  size_t current_ = 0;  // piece
  size_t taken_ = 0;    // bytes of it
  bool have_row_ = false;
  Rows row_;
};

}  // namespace

struct RemoteSource::State {
  explicit State(RemoteOptions its_options) : options(std::move(its_options)) {}

  Result<PgClient> connect() const;
  Status check_grants(PgClient& client) const;
  // A connection for one stream, and back when the stream is read or given up.
  Result<PgClient> take();
  void give(PgClient client);
  Result<Rows> ask(std::string_view sql, std::initializer_list<Param> params, ResultFormat format);
  // The same, row by row: libpq would hold a whole answer beside what is made of it.
  Status each_row(std::string_view sql, std::initializer_list<Param> params,
                  const std::function<void(const Rows&)>& take_row);
  Error explain(Error error, std::string_view what, std::string_view path) const;
  Status load_locations();

  const RemoteOptions options;
  std::string where;  // "host db1, port 5432, database postgres, user backup"
  uint32_t directory_mode = 0700;

  std::mutex shared_mutex;
  std::optional<PgClient> shared;  // for everything that is no stream

  std::mutex idle_mutex;
  std::vector<PgClient> idle;

  std::map<std::string, std::string> locations;  // oid of a tablespace to its location; the lister's
};

Result<PgClient> RemoteSource::State::connect() const {
  ConnectOptions connect;
  connect.application_name = options.application_name;
  connect.stop = options.stop;
  TRY_ASSIGN(PgClient client, PgClient::connect(options.conninfo, connect));
  // File names are bytes, in whatever encoding.
  TRY(client.exec("SET client_encoding = 'SQL_ASCII'"));
  TRY_ASSIGN(auto started,
             client.value("SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"));
  if (parse_i64(started.value_or("")) != options.postmaster_start.unix_us)
    return make_error(ErrorKind::foreign, client.where(),
                      "this is another server than before, or it was restarted")
        .with_hint("--pg must name one server");
  return client;
}

// The privilege on each function, asked for before the first file is.
Status RemoteSource::State::check_grants(PgClient& client) const {
  std::vector<std::string> lacking;
  for (std::string_view function : kRemoteReadFunctions) {
    TRY_ASSIGN(auto may, client.value("SELECT has_function_privilege($1, 'execute')",
                                      {Param(cat("pg_catalog.", function))}));
    if (may != "t") lacking.emplace_back(function);
  }
  if (lacking.empty()) return {};
  TRY_ASSIGN(auto role, client.value("SELECT quote_ident(current_user)"));
  return make_error(ErrorKind::permission, client.where(), "this role may not read the server's files")
      .with_hint(cat("as a superuser in the same database: GRANT EXECUTE ON FUNCTION ", join(lacking, ", "),
                     " TO ", role.value_or(""), "; lifeboat init --print-grants has the whole list"));
}

Result<PgClient> RemoteSource::State::take() {
  std::optional<PgClient> client;
  {
    std::lock_guard lock(idle_mutex);
    if (!idle.empty()) {
      client = std::move(idle.back());
      idle.pop_back();
    }
  }
  if (!client) return connect();
  // What a stream that was given up has still to come: not much, since a stream is a range of a file.
  while (true) {
    TRY_ASSIGN(auto row, client->next_row());
    if (!row) break;
  }
  return *std::move(client);
}

void RemoteSource::State::give(PgClient client) {
  std::lock_guard lock(idle_mutex);
  idle.push_back(std::move(client));
}

Result<Rows> RemoteSource::State::ask(std::string_view sql, std::initializer_list<Param> params,
                                      ResultFormat format) {
  std::lock_guard lock(shared_mutex);
  return shared->query(std::string(sql), params, format);
}

Status RemoteSource::State::each_row(std::string_view sql, std::initializer_list<Param> params,
                                     const std::function<void(const Rows&)>& take_row) {
  std::lock_guard lock(shared_mutex);
  TRY(shared->send(std::string(sql), {params.begin(), params.size()}, ResultFormat::text));
  while (true) {
    TRY_ASSIGN(auto row, shared->next_row());
    if (!row) return {};
    take_row(*row);
  }
}

Error RemoteSource::State::explain(Error error, std::string_view what, std::string_view path) const {
  if (error.kind == ErrorKind::cancelled) return error;
  if (error.object.empty()) error.object = where;
  if (error.kind == ErrorKind::permission && path.starts_with('/'))
    error.hint =
        "what lies outside the data directory takes pg_read_server_files: GRANT pg_read_server_files TO the "
        "role";
  return std::move(error).within(cat(what, " ", path.empty() ? options.layout.data_directory : path));
}

Status RemoteSource::State::load_locations() {
  auto rows = ask(kTablespacesSql, {}, ResultFormat::text);
  if (!rows) return explain(std::move(rows).error(), "listing tablespaces of", "");
  locations.clear();
  for (int row = 0; row < rows->size(); ++row)
    locations[std::string(rows->text(row, 0))] = std::string(rows->text(row, 1));
  return {};
}

// --- files

class RemoteSource::File : public SourceFile {
 public:
  File(std::shared_ptr<State> state, std::string path) : state_(std::move(state)), path_(std::move(path)) {}
  ~File() override {
    for (auto& stream : streams_) state_->give(stream->take_client());
  }

  Result<size_t> read(uint64_t offset, MutableBytes into) override {
    if (auto failed = take_failure()) return *std::move(failed);
    std::unique_ptr<Stream> stream = take_stream(offset);
    auto got = stream ? read_stream(std::move(stream), offset, into) : read_alone(offset, into);
    if (!got) return state_->explain(std::move(got).error(), "reading", path_);
    if (!*got) gone_ = true;
    return got->value_or(0);
  }

  // What goes wrong here is told by the next read.
  void will_read(std::span<const FileRange> ranges) override {
    auto stream = start_stream(ranges);
    std::lock_guard lock(mutex_);
    if (!stream)
      failure_ = state_->explain(std::move(stream).error(), "reading", path_);
    else if (*stream)
      streams_.push_back(*std::move(stream));
  }

  bool gone() const override { return gone_; }

 private:
  Result<std::unique_ptr<Stream>> start_stream(std::span<const FileRange> ranges) {
    std::vector<FileRange> pieces = cut(ranges);
    if (pieces.empty()) return std::unique_ptr<Stream>();
    TRY_ASSIGN(PgClient client, state_->take());
    auto stream = std::make_unique<Stream>(std::move(client), std::move(pieces));
    TRY(stream->start(path_));
    return stream;
  }

  std::optional<Error> take_failure() {
    std::lock_guard lock(mutex_);
    return std::exchange(failure_, std::nullopt);
  }

  std::unique_ptr<Stream> take_stream(uint64_t offset) {
    std::lock_guard lock(mutex_);
    auto found =
        std::ranges::find_if(streams_, [&](const auto& stream) { return stream->continues_at(offset); });
    if (found == streams_.end()) return nullptr;
    std::unique_ptr<Stream> stream = std::move(*found);
    streams_.erase(found);
    return stream;
  }

  // After an error the connection's state is unknown, and it is dropped with the stream.
  Result<std::optional<size_t>> read_stream(std::unique_ptr<Stream> stream, uint64_t offset,
                                            MutableBytes into) {
    TRY_ASSIGN(auto got, stream->read(offset, into));
    if (stream->finished()) {
      state_->give(stream->take_client());
    } else {
      std::lock_guard lock(mutex_);
      streams_.push_back(std::move(stream));
    }
    return got;
  }

  Result<std::optional<size_t>> read_alone(uint64_t offset, MutableBytes into) {
    TRY_ASSIGN(Rows rows, state_->ask("SELECT pg_read_binary_file($1::text, $2::bigint, $3::bigint, true)",
                                      {Param(path_), Param(cat(offset)), Param(cat(into.size()))},
                                      ResultFormat::binary));
    if (rows.size() != 1) return make_error(ErrorKind::server, "", "PostgreSQL answered without a row");
    if (rows.null(0, 0)) return std::optional<size_t>();
    const ByteView bytes = rows.bytes(0, 0);
    if (bytes.size() > into.size())
      return make_error(ErrorKind::server, path_,
                        cat(bytes.size(), " bytes came, ", into.size(), " were asked for"));
    // std::ranges::copy becomes a loop of single bytes (GCC 12).
    if (!bytes.empty()) std::memcpy(into.data(), bytes.data(), bytes.size());
    return std::optional(bytes.size());
  }

  std::shared_ptr<State> state_;
  std::string path_;
  std::atomic<bool> gone_{false};
  std::mutex mutex_;
  std::vector<std::unique_ptr<Stream>> streams_;  // of the threads that are reading
  std::optional<Error> failure_;
};

// --- the source

Result<std::unique_ptr<RemoteSource>> RemoteSource::open(RemoteOptions options) {
  auto state = std::make_shared<State>(std::move(options));
  TRY_ASSIGN(PgClient client, state->connect());
  state->where = client.where();
  TRY(state->check_grants(client));
  TRY_ASSIGN(auto mode, client.value("SELECT current_setting('data_directory_mode')"));
  uint32_t bits = 0;
  for (char digit : mode.value_or("")) bits = bits * 8 + static_cast<uint32_t>(digit - '0') % 8;
  if (bits != 0) state->directory_mode = bits & 07777;
  state->shared = std::move(client);
  TRY(state->load_locations());
  return std::unique_ptr<RemoteSource>(new RemoteSource(std::move(state)));
}

RemoteSource::~RemoteSource() = default;

std::string RemoteSource::absolute(std::string_view path) const {
  if (path.starts_with('/')) return std::string(path);
  return path.empty() ? state_->options.layout.data_directory
                      : cat(state_->options.layout.data_directory, '/', path);
}

Result<std::unique_ptr<SourceFile>> RemoteSource::open_listed(std::string_view path) {
  return std::unique_ptr<SourceFile>(std::make_unique<File>(state_, std::string(path)));
}

Result<std::unique_ptr<SourceFile>> RemoteSource::open(std::string_view path) {
  auto found = state_->ask("SELECT isdir FROM pg_stat_file($1::text, true)", {Param(std::string(path))},
                           ResultFormat::text);
  if (!found) return state_->explain(std::move(found).error(), "looking for", path);
  if (found->empty() || found->null(0, 0)) return std::unique_ptr<SourceFile>();
  return open_listed(path);
}

// A round trip for each would cost more than all the reading.
Status RemoteSource::read_places(std::span<const FilePlace> places, size_t size,
                                 const std::function<Status(size_t, ByteView)>& each) {
  for (size_t begin = 0; begin < places.size();) {
    const size_t count = std::min(places.size() - begin, std::max<size_t>(1, kPlacesBytes / size));
    std::string paths = "{", offsets = "{";
    for (const FilePlace& place : places.subspan(begin, count)) {
      paths += cat(paths.size() > 1 ? "," : "", array_element(place.path));
      offsets += cat(offsets.size() > 1 ? "," : "", place.offset);
    }
    auto rows = state_->ask(kPlacesSql, {Param(paths + "}"), Param(offsets + "}"), Param(cat(size))},
                            ResultFormat::binary);
    if (!rows) return state_->explain(std::move(rows).error(), "reading", places[begin].path);
    if (static_cast<size_t>(rows->size()) != count)
      return make_error(ErrorKind::server, state_->where,
                        "PostgreSQL answered with fewer rows than were asked for");
    for (size_t i = 0; i < count; ++i) {
      const int row = static_cast<int>(i);
      TRY(each(begin + i, rows->null(row, 0) ? ByteView() : rows->bytes(row, 0)));
    }
    begin += count;
  }
  return {};
}

Result<std::vector<std::string>> RemoteSource::names(const std::string& directory) {
  auto rows = state_->ask("SELECT name FROM pg_ls_dir($1::text) AS name ORDER BY name COLLATE \"C\"",
                          {Param(directory)}, ResultFormat::text);
  if (!rows) return state_->explain(std::move(rows).error(), "listing", directory);
  std::vector<std::string> names;
  for (int row = 0; row < rows->size(); ++row) names.emplace_back(rows->text(row, 0));
  return names;
}

Result<DirectoryListing> RemoteSource::list(std::string_view path) {
  const DataDirOptions& layout = state_->options.layout;
  DirectoryListing listing;
  listing.path = path;
  if (std::ranges::count(path, '/') > kDeepest)
    return make_error(ErrorKind::precondition, absolute(path),
                      "lies too deep: does a symbolic link lead back into the data directory?");

  Entry like;  // what every entry has in common
  like.owner = state_->options.owner;
  like.group = state_->options.owner;
  auto directory = [&](std::string name) {
    Entry entry = like;
    entry.name = std::move(name);
    entry.kind = EntryKind::directory;
    entry.mode = state_->directory_mode;
    return entry;
  };
  std::string own_name = absolute(path);
  listing.self = directory(own_name.substr(own_name.rfind('/') + 1));

  if (path == "pg_tblspc") TRY(state_->load_locations());
  // One that was made inside the data directory is read through pg_tblspc, not twice.
  const bool inside = std::ranges::any_of(state_->locations, [&](const auto& tablespace) {
    return tablespace.second == absolute(path) && !path.starts_with("pg_tblspc/");
  });
  auto keeps_empty = [&](const std::string& child) {
    return is_kept_empty(child) || std::ranges::find(layout.keep_empty, child) != layout.keep_empty.end();
  };
  listing.self.contents_skipped = keeps_empty(std::string(path)) || inside;
  if (listing.self.contents_skipped) return listing;
  if (path == "pg_wal") {
    for (std::string_view name : pg_wal_directories(layout.major)) {
      Entry entry = directory(std::string(name));
      entry.contents_skipped = true;
      listing.entries.push_back(std::move(entry));
    }
    return listing;
  }

  bool found = false;
  auto listed = state_->each_row(kListSql, {Param(on_server(path))}, [&](const Rows& row) {
    found = true;
    std::string name(row.text(0, 0));
    if (name == ".") listing.self.mtime_ns = row.i64(0, 2).value_or(0) * 1'000'000'000;
    if (name == "." || name == ".." || is_left_out(name) || row.null(0, 3)) return;
    if (is_tablespace(path) && name != layout.tablespace_version_dir) return;
    const std::string child = child_path(path, name);
    Entry entry = like;
    if (row.truth(0, 3)) {
      entry = directory(name);
      entry.contents_skipped = keeps_empty(child);
      auto location = is_tablespace(child) ? state_->locations.find(name) : state_->locations.end();
      if (location != state_->locations.end() && location->second.starts_with('/')) {
        entry.kind = EntryKind::tablespace_link;
        entry.link_target = location->second;
      }
    } else if (name.starts_with(".s.PGSQL.")) {
      listing.warnings.push_back(cat(child, ": left out, because it is neither a file nor a directory"));
      return;
    } else {
      entry.name = name;
      entry.kind = EntryKind::file;
      entry.mode = state_->directory_mode & 0666;
      classify(path, entry);
      if (RelationDirectory::parse(path) && is_temporary_relation_name(name)) return;
      entry.size = row.u64(0, 1).value_or(0);
    }
    entry.mtime_ns = row.i64(0, 2).value_or(0) * 1'000'000'000;
    listing.entries.push_back(std::move(entry));
  });
  if (!listed) return state_->explain(std::move(listed).error(), "listing", path);
  listing.vanished = !found;
  if (listing.vanished) {
    if (path.empty())
      return make_error(ErrorKind::not_found, absolute(path), "the data directory has vanished");
    auto location = is_tablespace(path)
                        ? state_->locations.find(std::string(path.substr(path.rfind('/') + 1)))
                        : state_->locations.end();
    if (location != state_->locations.end())
      listing.warnings.push_back(
          cat(path, ": the tablespace's location ", location->second, " does not exist"));
    return listing;
  }
  std::ranges::sort(listing.entries, {}, &Entry::name);
  leave_out_unlogged(listing.entries);
  return listing;
}

}  // namespace lifeboat::pg
