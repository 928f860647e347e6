// A repository: one store, its marker object, its keys, and the names of everything in it.
//
//   lifeboat.json                                       format, id, encrypted or not, compression (plain
//   text) keys/<key id>/<slot>                                wrapped keys (plain text)
//   clusters/<cluster>/<lineage>/lineage                registration of a system identifier
//   clusters/<cluster>/<lineage>/cards/<backup>         what `list` shows; the commit point of a backup
//   clusters/<cluster>/<lineage>/manifests/<backup>
//   clusters/<cluster>/<lineage>/packs/<backup>/<n>.data|.nodes
//   clusters/<cluster>/<lineage>/wal/…                  repo/wal_store.h
//   clusters/<cluster>/<lineage>/summaries/…            repo/summary_store.h
//   clusters/<cluster>/<lineage>/leases|tombstones|evidence/…
//   clusters/<cluster>/<lineage>/dumps/…                logical backups: cards, manifests, packs, leases,
//   tombstones and evidence of their own (dumps())
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"
#include "model/wal_name.h"
#include "repo/keyring.h"
#include "repo/object.h"
#include "storage/store.h"

namespace lifeboat::repo {

struct Marker {
  std::string repository_id;  // 32 hex digits
  bool encrypted = false;
  std::string key_check;           // Keyring::check() of the repository's keys
  CompressionOptions compression;  // default for new objects
  Timestamp created;
};

// Thread rule: const methods from any thread; the store is thread-safe by contract.
class Repository {
 public:
  // `conflict` when a repository is there already, or is made by somebody else at this moment; the store must
  // be empty but for that. Of several at once exactly one succeeds, and only that one's key slot stays.
  static Result<Repository> create(std::unique_ptr<storage::Store> store, const KeySource& source,
                                   CompressionOptions compression);
  // `not_found` when there is none; `wrong_key` / `config` when the key does not fit or is missing.
  static Result<Repository> open(std::unique_ptr<storage::Store> store, const KeySource& source);
  // The marker alone, without keys. `not_found` when there is no repository.
  static Result<Marker> read_marker(storage::Store& store);

  storage::Store& store() const { return *store_; }
  const Keyring& keys() const { return keys_; }
  const Marker& marker() const { return marker_; }

 private:
  Repository(std::unique_ptr<storage::Store> store, Keyring keys, Marker marker)
      : store_(std::move(store)), keys_(std::move(keys)), marker_(std::move(marker)) {}
  std::unique_ptr<storage::Store> store_;
  Keyring keys_;
  Marker marker_;
};

// What `init` records of a system identifier.
struct LineageRecord {
  Lineage lineage;
  uint32_t catalog_version = 0;
  SegmentSize segment_size;
  uint32_t block_size = 8192;
  Timestamp registered;
  std::string registered_by;  // host name
};

inline constexpr std::string_view kDumpsFolder = "dumps/";

// One lineage of one cluster: names and the small objects. Cheap to copy; borrows the repository.
class LineageRepo {
 public:
  LineageRepo(const Repository& repository, std::string cluster, Lineage lineage);
  const Repository& repository() const { return *repository_; }
  storage::Store& store() const { return repository_->store(); }
  const Keyring& keys() const { return repository_->keys(); }
  CompressionOptions compression() const { return repository_->marker().compression; }
  const std::string& cluster() const { return cluster_; }
  const Lineage& lineage() const { return lineage_; }
  const std::string& prefix() const { return prefix_; }  // "clusters/main/7…-15/"
  // The same lineage's dumps: a place with the same folders, so that whatever works on backups works on dumps
  // (leases, collection, retention, proofs), and neither gets in the other's way.
  LineageRepo dumps() const;
  std::string name(std::string_view below) const;  // prefix + below

  Status put(ObjectKind kind, std::string_view below, ByteView plain) const;
  Result<Bytes> get(ObjectKind kind, std::string_view below, uint64_t size_limit) const;

 private:
  const Repository* repository_;
  std::string cluster_;
  Lineage lineage_;
  std::string prefix_;
};

Status register_lineage(const LineageRepo& repo, const LineageRecord& record);  // `conflict` when registered
// `foreign` when this lineage was never registered for the cluster, with what is registered instead.
Result<LineageRecord> require_lineage(const LineageRepo& repo);
// All lineages of a cluster, oldest registration first (T39); empty when the cluster is unknown.
Result<std::vector<LineageRecord>> list_lineages(const Repository& repository, std::string_view cluster);
Result<std::vector<std::string>> list_clusters(const Repository& repository);

}  // namespace lifeboat::repo
