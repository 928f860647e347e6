#include "storage/store.h"

#include "util/strings.h"

namespace lifeboat::storage {

Status Store::put(std::string_view name, ByteView content) {
  TRY_ASSIGN(auto writer, create(name));
  TRY(writer->append(content));
  return writer->commit();
}

Result<Bytes> Store::get(std::string_view name, uint64_t size_limit) {
  TRY_ASSIGN(auto reader, open(name));
  if (reader->size() > size_limit) {
    return make_error(ErrorKind::damaged, std::string(name),
                      cat("object has ", reader->size(), " bytes, expected at most ", size_limit));
  }
  Bytes content(reader->size());
  TRY(reader->read_at(0, content));
  return content;
}

Result<bool> Store::exists(std::string_view name) {
  auto reader = open(name);
  if (reader) return true;
  if (reader.error().kind == ErrorKind::not_found) return false;
  return std::move(reader).error();
}

}  // namespace lifeboat::storage
