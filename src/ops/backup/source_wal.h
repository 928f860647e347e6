// The server's pg_wal, read as its other files are: on this host or through a connection.
#pragma once

#include <functional>

#include "ops/wal/changes.h"
#include "ops/wal/push.h"
#include "pg/files/source.h"

namespace lifeboat::ops {

// Thread rule: one thread.
class SourceWal : public ServerWal, public WalPlace {
 public:
  explicit SourceWal(pg::FileSource& files) : files_(files) {}
  Result<bool> read(const SegmentName& segment, const std::function<Status(ByteView)>& sink) override;
  // The file is a copy in memory that has no name: WAL in plain text is left nowhere.
  Result<File> open(const WalFileName& file) override;
  Result<Bytes> head(const WalFileName& file, size_t size) override;

 private:
  Result<bool> read_file(const std::string& name, const std::function<Status(ByteView)>& sink);
  pg::FileSource& files_;
};

}  // namespace lifeboat::ops
