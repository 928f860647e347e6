#include "repo/evidence.h"

#include "model/names.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {
constexpr std::string_view kFolder = "evidence/";
}

Result<std::string> write_evidence(const LineageRepo& repo, Timestamp time, std::string_view json) {
  constexpr int kTries = 20;
  // Of two records within a second the later one is the newer: above 14 random bits stand the milliseconds.
  const auto milliseconds = static_cast<uint32_t>(time.unix_us / 1000 % 1000);
  for (int tried = 1;; ++tried) {
    uint32_t random = 0;
    codec::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&random), sizeof random));
    std::string id = BackupId::make(time, milliseconds << 14 | (random & 0x3fff)).text;
    Status put = repo.put(ObjectKind::evidence, cat(kFolder, id), as_bytes(json));
    if (put) return id;
    if (put.error().kind != ErrorKind::conflict || tried == kTries) return std::move(put).error();
  }
}

Result<std::vector<std::string>> list_evidence(const LineageRepo& repo) {
  std::vector<std::string> ids;
  std::string prefix = repo.name(kFolder);
  TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
    std::string id = info.name.substr(prefix.size());
    if (BackupId::parse(id)) ids.push_back(std::move(id));
    return {};
  }));
  return ids;
}

Result<std::string> read_evidence(const LineageRepo& repo, std::string_view id) {
  TRY_ASSIGN(Bytes plain, repo.get(ObjectKind::evidence, cat(kFolder, id), kEvidenceLimit));
  return std::string(as_text(plain));
}

}  // namespace lifeboat::repo
