#include "repo/keyring.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr std::string_view kKeyFileTag = "lifeboat-key-1 ";
constexpr int kScryptLog2N = 16;
constexpr size_t kSaltSize = 32;
constexpr size_t kCheckSize = 16;
constexpr uint64_t kSlotLimit = 64 << 10;
constexpr size_t kWrappedSize = 2 * codec::SecretKey::kSize;  // repository key ‖ name key

std::string slots_prefix(uint32_t key_id) {
  return cat("keys/", hex_number(key_id, 8), "/");
}

std::string_view kind_name(KeySourceKind kind) {
  return kind == KeySourceKind::key_file ? "key-file" : "passphrase";
}

Status check_private(const std::string& path, std::string_view what) {
  struct stat facts{};
  if (stat(path.c_str(), &facts) != 0) return errno_error(errno, path, cat("read the ", what));
  if ((facts.st_mode & 077) == 0) return {};
  return make_error(ErrorKind::permission, path, cat("the ", what, " can be read by others"))
      .with_hint(cat("chmod 600 ", shell_quote(path)));
}

Result<Bytes> read_passphrase(const std::string& path) {
  TRY(check_private(path, "passphrase file"));
  TRY_ASSIGN(Bytes content, read_file(path, 64 << 10));
  while (!content.empty() && (content.back() == '\n' || content.back() == '\r')) content.pop_back();
  if (content.empty()) return make_error(ErrorKind::config, path, "the passphrase file is empty");
  return content;
}

// The key that wraps a slot, from what the user gave.
Result<codec::SecretKey> wrapping_key(const KeySource& source, ByteView salt, int log2_n) {
  if (source.kind == KeySourceKind::key_file) {
    TRY_ASSIGN(codec::SecretKey key, read_key_file(source.path));
    return codec::hkdf(key, salt, "lifeboat slot");
  }
  TRY_ASSIGN(Bytes passphrase, read_passphrase(source.path));
  auto key = codec::scrypt(passphrase, salt, log2_n);
  std::fill(passphrase.begin(), passphrase.end(), uint8_t{0});
  return key;
}

// A wrapped pair of keys on its way in or out; wiped when done.
struct Wrapped {
  uint8_t bytes[kWrappedSize + codec::kTagSize] = {};
  ~Wrapped() { explicit_bzero(bytes, sizeof bytes); }
  MutableBytes text() { return {bytes, kWrappedSize}; }
  std::span<uint8_t, codec::kTagSize> tag() {
    return std::span<uint8_t, codec::kTagSize>(bytes + kWrappedSize, codec::kTagSize);
  }
};

Result<SlotInfo> write_slot(storage::Store& store, uint32_t key_id, const codec::SecretKey& key,
                            const codec::SecretKey& name_key, const KeySource& source) {
  uint8_t salt[kSaltSize];
  codec::random_bytes(salt);
  uint8_t slot_id[4];
  codec::random_bytes(slot_id);
  SlotInfo slot{key_id, cat(kind_name(source.kind), "-", to_hex(slot_id)),
                std::string(kind_name(source.kind))};
  std::string name = slots_prefix(key_id) + slot.slot;

  TRY_ASSIGN(codec::SecretKey wrapper, wrapping_key(source, salt, kScryptLog2N));
  Wrapped wrapped;
  std::copy(key.view().begin(), key.view().end(), wrapped.bytes);
  std::copy(name_key.view().begin(), name_key.view().end(), wrapped.bytes + codec::SecretKey::kSize);
  codec::Sealer(wrapper).seal(0, as_bytes(name), wrapped.text(), wrapped.tag());

  nlohmann::ordered_json json = {
      {"format", 1}, {"key_id", key_id}, {"kind", slot.kind}, {"salt", to_hex(salt)}};
  if (source.kind == KeySourceKind::passphrase_file) json["scrypt_log2_n"] = kScryptLog2N;
  json["sealed"] = to_hex(wrapped.bytes);
  TRY(store.put(name, as_bytes(with_check_line(json.dump()))));
  return slot;
}

struct OpenedSlot {
  codec::SecretKey key;
  codec::SecretKey name_key;
};

std::string check_of(const codec::SecretKey& name_key) {
  codec::Digest256 digest = codec::hmac_sha256(name_key.view(), as_bytes("lifeboat key check"));
  return to_hex(ByteView(digest).first(kCheckSize));
}

// nullopt: the slot is whole, but this source does not open it, or it does not hold the repository's keys.
Result<std::optional<OpenedSlot>> open_slot(storage::Store& store, const std::string& name,
                                            const KeySource& source, std::string_view check) {
  TRY_ASSIGN(Bytes content, store.get(name, kSlotLimit));
  TRY_ASSIGN(std::string text, strip_check_line(name, content));
  auto damaged = [&] { return make_error(ErrorKind::damaged, name, "not a key slot"); };
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("format", 0) != 1) return damaged();
  if (json.value("kind", "") != kind_name(source.kind)) return std::optional<OpenedSlot>();
  auto salt = from_hex(json.value("salt", ""));
  auto sealed = from_hex(json.value("sealed", ""));
  int log2_n = json.value("scrypt_log2_n", kScryptLog2N);
  Wrapped wrapped;
  if (!salt || salt->size() != kSaltSize || !sealed || sealed->size() != sizeof wrapped.bytes)
    return damaged();
  if (log2_n < 10 || log2_n > 20) return damaged();
  std::copy(sealed->begin(), sealed->end(), wrapped.bytes);
  TRY_ASSIGN(codec::SecretKey wrapper, wrapping_key(source, *salt, log2_n));
  if (!codec::Sealer(wrapper).open(0, as_bytes(name), wrapped.text(), wrapped.tag()))
    return std::optional<OpenedSlot>();
  ByteView plain = wrapped.text();
  OpenedSlot opened{codec::SecretKey(plain.first(codec::SecretKey::kSize)),
                    codec::SecretKey(plain.last(codec::SecretKey::kSize))};
  if (check_of(opened.name_key) != check) return std::optional<OpenedSlot>();
  return std::optional<OpenedSlot>(std::move(opened));
}

}  // namespace

Result<codec::SecretKey> read_key_file(const std::string& path) {
  TRY(check_private(path, "key file"));
  TRY_ASSIGN(Bytes content, read_file(path, 4096));
  std::string_view text = trim(as_text(content));
  auto bytes = text.starts_with(kKeyFileTag) ? from_hex(text.substr(kKeyFileTag.size())) : std::nullopt;
  if (!bytes || bytes->size() != codec::SecretKey::kSize) {
    return make_error(ErrorKind::config, path, "not a key file")
        .with_hint("it holds \"lifeboat-key-1\" and 64 hex digits");
  }
  codec::SecretKey key{ByteView(*bytes)};
  explicit_bzero(bytes->data(), bytes->size());
  explicit_bzero(content.data(), content.size());
  return key;
}

Status create_key_file(const std::string& path) {
  codec::SecretKey key = codec::SecretKey::random();
  std::string text = cat(kKeyFileTag, to_hex(key.view()), "\n");
  auto written = create_file_durable(path, as_bytes(text), 0600);
  explicit_bzero(text.data(), text.size());
  return written;
}

Result<codec::SecretKey> Keyring::object_key(uint32_t key_id, ByteView salt) const {
  auto found = keys_.find(key_id);
  if (found == keys_.end())
    return make_error(ErrorKind::wrong_key, cat("key ", key_id), "this key is not at hand");
  return codec::hkdf(found->second, salt, "lifeboat object");
}

codec::Hash128 Keyring::name_hash(std::string_view name, const codec::Hash128& content) const {
  Bytes message;
  ByteWriter writer(message);
  writer.text(name);
  writer.bytes(content);
  if (!name_key_) return codec::hash128(message);
  codec::Digest256 digest = codec::hmac_sha256(name_key_->view(), message);
  codec::Hash128 hash;
  std::copy_n(digest.begin(), hash.size(), hash.begin());
  return hash;
}

std::string Keyring::check() const {
  return name_key_ ? check_of(*name_key_) : "";
}

Result<NewKeys> create_keys(storage::Store& store, const KeySource& source) {
  CHECK(source.kind != KeySourceKind::none);
  NewKeys made;
  codec::SecretKey key = codec::SecretKey::random();
  made.keys.name_key_ = codec::SecretKey::random();
  TRY_ASSIGN(SlotInfo slot, write_slot(store, 1, key, *made.keys.name_key_, source));
  made.slot = slots_prefix(1) + slot.slot;
  made.keys.keys_.emplace(1, std::move(key));
  made.keys.current_ = 1;
  return made;
}

Result<Keyring> open_keys(storage::Store& store, const KeySource& source, std::string_view check) {
  CHECK(source.kind != KeySourceKind::none);
  TRY_ASSIGN(std::vector<SlotInfo> slots, list_slots(store));
  Keyring ring;
  std::optional<Error> damage;
  for (const SlotInfo& slot : slots) {
    if (slot.kind != kind_name(source.kind) || ring.keys_.contains(slot.key_id)) continue;
    auto tried = open_slot(store, slots_prefix(slot.key_id) + slot.slot, source, check);
    if (!tried &&
        tried.error().kind == ErrorKind::damaged) {  // another slot may still open; verify reports this one
      damage = std::move(tried).error();
      continue;
    }
    TRY_ASSIGN(auto opened, std::move(tried));
    if (!opened) continue;
    ring.keys_.emplace(slot.key_id, std::move(opened->key));
    ring.name_key_ = std::move(opened->name_key);
    ring.current_ = std::max(ring.current_, slot.key_id);
  }
  if (ring.keys_.empty() && damage) return std::move(*damage);
  if (ring.keys_.empty()) {
    return make_error(ErrorKind::wrong_key, source.path,
                      cat("this ", kind_name(source.kind), " opens no key slot of ", store.url()))
        .with_hint("give the key file or passphrase file that was used at init");
  }
  return ring;
}

Result<SlotInfo> add_slot(storage::Store& store, const Keyring& keys, const KeySource& source) {
  CHECK(keys.encrypted());
  SlotInfo last;
  for (const auto& [id, key] : keys.keys_) {
    TRY_ASSIGN(last, write_slot(store, id, key, *keys.name_key_, source));
  }
  return last;
}

Result<std::vector<SlotInfo>> list_slots(storage::Store& store) {
  std::vector<SlotInfo> slots;
  TRY(store.list("keys/", [&](const storage::ObjectInfo& object) -> Status {
    auto parts = split(object.name, '/');
    auto key_id = parts.size() == 3 ? parse_u64(parts[1], 16) : std::nullopt;
    size_t dash = parts.back().rfind('-');
    if (!key_id || dash == std::string_view::npos) {
      return make_error(ErrorKind::damaged, object.name, "not the name of a key slot");
    }
    slots.push_back(
        {static_cast<uint32_t>(*key_id), std::string(parts[2]), std::string(parts[2].substr(0, dash))});
    return {};
  }));
  return slots;
}

Result<std::vector<SlotInfo>> slots_opened_by(storage::Store& store, const KeySource& source,
                                              std::string_view check) {
  CHECK(source.kind != KeySourceKind::none);
  TRY_ASSIGN(std::vector<SlotInfo> slots, list_slots(store));
  std::vector<SlotInfo> opened_slots;
  for (SlotInfo& slot : slots) {
    TRY_ASSIGN(auto opened, open_slot(store, slots_prefix(slot.key_id) + slot.slot, source, check));
    if (opened) opened_slots.push_back(std::move(slot));
  }
  return opened_slots;
}

std::string with_check_line(std::string_view json) {
  std::string text = cat(json, "\n");
  return cat(text, to_hex(codec::hash128(as_bytes(text))), "\n");
}

Result<std::string> strip_check_line(std::string_view object, ByteView content) {
  std::string_view text = as_text(content);
  size_t end = text.find('\n');
  if (end == std::string_view::npos ||
      text.substr(end + 1) != cat(to_hex(codec::hash128(content.first(end + 1))), "\n")) {
    return make_error(ErrorKind::damaged, std::string(object), "its check line does not match its content");
  }
  return std::string(text.substr(0, end));
}

}  // namespace lifeboat::repo
