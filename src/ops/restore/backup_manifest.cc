#include "ops/restore/backup_manifest.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <ctime>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kFlushBytes = 256 << 10;

// Well-formed UTF-8 without overlong forms and surrogates; PostgreSQL writes other paths as hex.
bool valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    size_t more = c < 0x80                 ? 0
                  : c >= 0xc2 && c <= 0xdf ? 1
                  : (c & 0xf0) == 0xe0     ? 2
                  : c >= 0xf0 && c <= 0xf4 ? 3
                                           : 4;
    if (more == 4 || i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    if (more > 1) {
      auto second = static_cast<unsigned char>(text[i + 1]);
      if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) || (c == 0xf0 && second < 0x90) ||
          (c == 0xf4 && second > 0x8f)) {
        return false;
      }
    }
    i += more + 1;
  }
  return true;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += cat("\\u00", to_lower(hex_number(byte, 2)));
    } else {
      out += c;
    }
  }
  return out += '"';
}

std::string gmt(int64_t unix_us) {
  time_t seconds = unix_us / 1'000'000;
  struct tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S GMT", &parts);
  return text;
}

}  // namespace

bool listed_in_backup_manifest(std::string_view path) {
  constexpr std::array<std::string_view, 5> kSkipped = {"backup_manifest", "pg_wal", "postgresql.auto.conf",
                                                        "recovery.signal", "standby.signal"};
  for (std::string_view skipped : kSkipped) {
    if (path == skipped || (path.starts_with(skipped) && path[skipped.size()] == '/')) return false;
  }
  return true;
}

Result<BackupManifestWriter> BackupManifestWriter::create(const std::string& path, mode_t mode,
                                                          const BackupManifestHead& head) {
  TRY_ASSIGN(Fd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (fchmod(fd.get(), mode) != 0) return errno_error(errno, path, "set the mode of");
  BackupManifestWriter writer(std::move(fd), path);
  // Version 2, which names the system, came with incremental backups.
  if (head.version->wal_summaries) {
    writer.buffer_ =
        cat("{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": ", head.system_id.value,
            ",\n\"Files\": [");
  } else {
    writer.buffer_ = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [";
  }
  return writer;
}

Status BackupManifestWriter::add(std::string_view path, uint64_t size, int64_t mtime_us, uint32_t crc) {
  std::array<uint8_t, 4> sum{};
  store_le(sum.data(), crc);  // pg_checksum_final copies the value as it lies in memory
  buffer_ += first_ ? "\n" : ",\n";
  first_ = false;
  if (valid_utf8(path)) {
    buffer_ += cat("{ \"Path\": ", json_string(path));
  } else {
    buffer_ += cat("{ \"Encoded-Path\": \"", to_hex(as_bytes(path)), "\"");
  }
  buffer_ += cat(", \"Size\": ", size, ", \"Last-Modified\": \"", gmt(mtime_us),
                 "\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"", to_hex(sum), "\" }");
  return buffer_.size() >= kFlushBytes ? flush() : Status();
}

Status BackupManifestWriter::flush() {
  TRY(pwrite_all(fd_.get(), size_, as_bytes(buffer_), path_));
  sum_->update(as_bytes(buffer_));
  size_ += buffer_.size();
  buffer_.clear();
  return {};
}

Status BackupManifestWriter::finish(const BackupManifestWal& wal) {
  buffer_ += cat("\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": ", wal.timeline.value, ", \"Start-LSN\": \"",
                 wal.start.to_string(), "\", \"End-LSN\": \"", wal.stop.to_string(), "\" }\n],\n");
  TRY(flush());
  std::string last = cat("\"Manifest-Checksum\": \"", to_hex(sum_->digest()), "\"}\n");
  TRY(pwrite_all(fd_.get(), size_, as_bytes(last), path_));
  return fd_.close(path_);
}

}  // namespace lifeboat::ops
