// Store: where objects live. Small on purpose: a driver is pure transport; retry, limits, logging and fault
// injection are wrappers (storage/wrap) stacked around one.
//
// Contract, checked for every store by tests/conformance/store_conformance.h:
//  - An object has a name ("clusters/main/…": '/'-separated elements of [A-Za-z0-9._=-], never empty, never
//  "." or
//    "..", never beginning with ".tmp-") and immutable content. It is visible whole or not at all.
//  - Creation never replaces: committing a name that exists fails with `conflict` and leaves the old object
//  as it
//    was. When two processes race for a name, exactly one succeeds (`atomic_create` says whether the store
//    promises it).
//  - When `commit`, `put` or `remove` returned success the change survives a power cut.
//  - A writer that is destroyed without `commit` leaves nothing that any list or read shows.
//  - `list` returns names in byte order. An object committed before the call began is in it.
// Thread rule: a Store may be used by many threads at once; a writer or reader by one at a time, except
// ObjectReader::read_at, which may be called concurrently.
// Errors: not_found, conflict, permission, space, unavailable (worth a retry), failed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::storage {

struct ObjectInfo {
  std::string name;
  uint64_t size = 0;
  Timestamp modified;  // by the store's own clock
};

class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;  // abandons what was not committed
  // Appends; data may be written to the store at any time from now on.
  virtual Status append(ByteView bytes) = 0;
  // Begins what commit() would have to wait for: for an object that is written now and committed when
  // something else is done. Nothing is visible or promised before commit(); a store that cannot do any of it
  // early does nothing.
  virtual Status sync() { return {}; }
  // Makes the object durable and visible under its name, or fails and leaves no trace. Call once, last.
  virtual Status commit() = 0;
};

class ObjectReader {
 public:
  virtual ~ObjectReader() = default;
  virtual uint64_t size() const = 0;
  // Fills `out` from `offset`. Reading past the end is `damaged` (the object is shorter than its reader
  // believes).
  virtual Status read_at(uint64_t offset, MutableBytes out) = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // Starts an object. A conflict may be reported here or by commit().
  virtual Result<std::unique_ptr<ObjectWriter>> create(std::string_view name) = 0;
  virtual Result<std::unique_ptr<ObjectReader>> open(std::string_view name) = 0;
  // Calls `each` for every object whose name begins with `prefix`, in byte order of names; an error from
  // `each` ends the listing and is returned. Memory does not grow with the number of objects beyond one
  // directory or page.
  virtual Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) = 0;
  // The distinct next elements below `prefix` (which ends in '/') that have objects below them:
  // "directories", in byte order, without the slash.
  virtual Result<std::vector<std::string>> list_dirs(std::string_view prefix) = 0;
  // Success: this object, which was seen in the store, survives a power cut. Whoever made it may have been
  // killed between the moment it became visible and the moment it was durable. not_found.
  virtual Status confirm(std::string_view name) = 0;
  // Removes an object; one that is not there is success.
  virtual Status remove(std::string_view name) = 0;
  // The store's own clock: what `modified` of an object made now would say.
  virtual Result<Timestamp> now() = 0;
  // Removes leftovers of writers that died (temporary files, unfinished uploads) not touched since
  // `older_than`. Returns how many.
  virtual Result<uint64_t> remove_unfinished(Timestamp older_than) = 0;

  virtual std::string url() const = 0;     // for messages; never with a secret
  virtual bool atomic_create() const = 0;  // create-if-absent is atomic between processes

  // Conveniences built on the above.
  Status put(std::string_view name, ByteView content);  // create + append + commit
  Result<Bytes> get(std::string_view name,
                    uint64_t size_limit);  // whole; larger than size_limit is `damaged`
  Result<bool> exists(std::string_view name);
};

// Opens a store by its URL ("file:///dir"; "memory:" is for tests and is private to the returned object).
// `config` error for a scheme that is not built in. Does not touch the store except to see that it is there;
// `create_missing` makes the directory.
enum class StoreMode : uint8_t { existing, create_missing };
Result<std::unique_ptr<Store>> open_store(std::string_view url, StoreMode mode);

}  // namespace lifeboat::storage
