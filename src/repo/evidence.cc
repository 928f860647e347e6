#include "repo/evidence.h"

#include "model/names.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {
constexpr std::string_view kFolder = "evidence/";
}

Result<std::string> write_evidence(const LineageRepo& repo, Timestamp time, std::string_view json) {
  uint32_t random = 0;
  codec::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&random), sizeof random));
  std::string id = BackupId::make(time, random).text;
  TRY(repo.put(ObjectKind::evidence, cat(kFolder, id), as_bytes(json)));
  return id;
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
