#include "storage/file/file_store.h"
#include "storage/memory/memory_store.h"
#include "tests/conformance/store_conformance.h"
#include "util/files.h"

namespace lifeboat::storage {
namespace {

class FileUnderTest : public StoreUnderTest {
 public:
  explicit FileUnderTest(FileStore::Publish publish) : publish_(publish), store_(another()) {}
  Store& store() override { return *store_; }
  std::unique_ptr<Store> another() override {
    return FileStore::open_root(dir_.path(), StoreMode::existing, publish_).value();
  }

 private:
  TempDir dir_ = TempDir::make("lifeboat-store").value();
  FileStore::Publish publish_;
  std::unique_ptr<Store> store_;
};

class MemoryUnderTest : public StoreUnderTest {
 public:
  Store& store() override { return store_; }

 private:
  MemoryStore store_;
};

StoreFactory file_factory(std::string name, FileStore::Publish publish) {
  return {std::move(name), [publish] { return std::make_unique<FileUnderTest>(publish); }};
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreConformance,
                         testing::Values(file_factory("file", FileStore::Publish::automatic),
                                         file_factory("file_by_link", FileStore::Publish::link),
                                         StoreFactory{"memory",
                                                      [] { return std::make_unique<MemoryUnderTest>(); }}),
                         store_factory_name);

}  // namespace
}  // namespace lifeboat::storage
