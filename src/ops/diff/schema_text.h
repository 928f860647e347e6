// Which objects a script of `pg_dump --schema-only` defines, so that two scripts can be compared object by
// object.
//
// pg_dump puts a header of three lines before each of them ("-- Name: v; Type: VIEW; Schema: public; Owner:
// app", _printTocEntry in pg_backup_archiver.c of 13 to 18). Only headers and a hash of what follows are
// kept: definitions hold passwords (user mappings, subscriptions), and a schema may be larger than memory.
//
// What varies without a difference is left out: what stands before the first header (versions), \restrict
// and its key, \connect, and the settings that pg_dump writes between two objects because of the next one.
// A function's body that holds what looks like a header is cut there, in both scripts alike, and what looks
// like the end is only when nothing follows: all text belongs to some object, so no difference is lost.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/codec.h"
#include "util/result.h"

namespace lifeboat::ops {

struct SchemaObject {
  std::string type;    // as pg_dump calls it: VIEW, TRIGGER, ACL, DEFAULT ACL, COMMENT
  std::string schema;  // empty: belongs to none
  std::string name;    // "f(integer)"; "orders audit_row" of a trigger, "TABLE orders" of an ACL
  auto operator<=>(const SchemaObject&) const = default;
};

// One script, in pieces of any size. Thread rule: one thread. Memory: the headers, at most `most_bytes`.
class SchemaText {
 public:
  static constexpr uint64_t kMostBytes = 128 << 20;
  explicit SchemaText(uint64_t most_bytes = kMostBytes) : most_bytes_(most_bytes) {}

  // Errors: unsupported (more objects than are held).
  Status feed(std::string_view bytes);
  // That was all. Errors: damaged (the script does not end as pg_dump ends one).
  Status finish();

  // Several definitions may have one header (privileges that several roles gave): their hashes in order.
  using Objects = std::map<SchemaObject, std::vector<codec::Digest256>>;
  const Objects& objects() const { return objects_; }
  Objects take() && { return std::move(objects_); }

 private:
  enum class Seen : uint8_t { nothing, bar, title };  // of a header
  Status line(std::string_view text);
  Status begin_object();
  void text_line(std::string_view text);
  void give_up_header();
  void flush_held();
  Status end_object();

  uint64_t most_bytes_;
  uint64_t held_bytes_ = 0;
  std::string rest_;      // of a line that has not ended
  bool in_long_ = false;  // a line that was too long to be held is being read
  Seen seen_ = Seen::nothing;
  std::string title_;
  std::string held_;  // blank lines and settings, which count only when something follows
  std::string access_method_;
  bool open_ = false;  // an object
  bool complete_ = false;
  SchemaObject object_;
  std::unique_ptr<codec::Hasher256> hash_;
  Objects objects_;
};

enum class ObjectChange : uint8_t { removed, added, changed };  // from the first script to the second
std::string_view to_string(ObjectChange change);
struct ObjectDiff {
  ObjectChange change = ObjectChange::changed;
  SchemaObject object;
  std::string to_string() const;  // "VIEW v in schema public"
};
// In order of type, schema, name.
std::vector<ObjectDiff> compare_objects(const SchemaText::Objects& before, const SchemaText::Objects& after);

}  // namespace lifeboat::ops
