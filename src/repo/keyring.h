// Keys of a repository and the slots that hold them (docs/format.md, "Keys").
//
// A repository key is 32 random bytes with an id; objects are sealed with keys derived from it. The name key
// is 32 random bytes that never change over rotations: names of WAL objects are made with it. A slot wraps
// both under a key file (random 256-bit key) or a passphrase (scrypt). Removing a slot does not revoke a key
// that was copied.
//
// An init that was killed, or that lost against another one, may leave a slot with keys of its own. So the
// marker has a check value of the name key, and a slot that holds another one is none of the repository's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/codec.h"
#include "storage/store.h"
#include "util/result.h"

namespace lifeboat::repo {

enum class KeySourceKind : uint8_t { none, key_file, passphrase_file };
struct KeySource {
  KeySourceKind kind = KeySourceKind::none;
  std::string path;  // absolute
};

// Reads a key file ("lifeboat-key-1" and 64 hex digits on one line). `permission` when others can read it.
Result<codec::SecretKey> read_key_file(const std::string& path);
// Writes a new random key file, mode 0600, durable; `conflict` when something is there, also when another
// process was faster by a moment.
Status create_key_file(const std::string& path);

struct SlotInfo {
  uint32_t key_id = 0;
  std::string slot;  // last element of the slot's name
  std::string kind;  // "key-file" or "passphrase"
};

struct NewKeys;

// The keys that one process holds. Immutable after opening, shared by threads.
class Keyring {
 public:
  Keyring() = default;  // an unencrypted repository
  bool encrypted() const { return current_ != 0; }
  uint32_t current() const { return current_; }  // key id for new objects; 0 = not encrypted
  // Key of one object; `wrong_key` when this key id is not held.
  Result<codec::SecretKey> object_key(uint32_t key_id, ByteView salt) const;
  // 128-bit name hash of a plain content hash: HMAC-SHA256 with the name key, or XXH3-128 without encryption.
  codec::Hash128 name_hash(std::string_view name, const codec::Hash128& content) const;
  // For the marker: what tells the name key without giving it away, in hex. "" without encryption.
  std::string check() const;

 private:
  friend Result<NewKeys> create_keys(storage::Store& store, const KeySource& source);
  friend Result<Keyring> open_keys(storage::Store& store, const KeySource& source, std::string_view check);
  friend Result<SlotInfo> add_slot(storage::Store& store, const Keyring& keys, const KeySource& source);
  std::map<uint32_t, codec::SecretKey> keys_;
  std::optional<codec::SecretKey> name_key_;
  uint32_t current_ = 0;
};

// Makes key 1 and its first slot. `source.kind` must not be none.
struct NewKeys {
  Keyring keys;
  std::string slot;  // the slot's object
};
Result<NewKeys> create_keys(storage::Store& store, const KeySource& source);
// Tries the slots that fit the kind of source; those whose keys are not the marker's (`check`) are passed
// over. `wrong_key` when none opens.
Result<Keyring> open_keys(storage::Store& store, const KeySource& source, std::string_view check);
// Wraps the held keys under one more key file or passphrase.
Result<SlotInfo> add_slot(storage::Store& store, const Keyring& keys, const KeySource& source);
Result<std::vector<SlotInfo>> list_slots(storage::Store& store);
// Those of them that this source opens and that hold the repository's keys, each one tried. `source.kind`
// must not be none.
Result<std::vector<SlotInfo>> slots_opened_by(storage::Store& store, const KeySource& source,
                                              std::string_view check);

// Small plain-text objects that are read before any key is known: one line of JSON and a line with its
// XXH3-128.
std::string with_check_line(std::string_view json);
Result<std::string> strip_check_line(std::string_view object, ByteView content);

}  // namespace lifeboat::repo
