// Which names the mount shows, and what they are called below it. Pure.
//
// What lies below a mount is sparse: a server that started on it, or that lost the mount of a tablespace,
// would read holes as pages of zeros. So it is made unusable: pg_control, and in a tablespace the version
// directory, have other names there until everything is in place, and the mount shows them under the right
// ones. The server neither renames nor links either. A directory that is not mounted is then one on which
// PostgreSQL refuses to start, as an unfinished restore is (T04).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lifeboat::ops {

// What the mount keeps of its own in the data directory; never shown.
inline constexpr std::string_view kMountFolder = "lifeboat.mount";
// What the process that serves it writes when nobody listens; shown, so that it can be read.
inline constexpr std::string_view kMountLog = "lifeboat.mount.log";
// How far it is (status.h); shown too.
inline constexpr std::string_view kMountStatus = "lifeboat.mount.status";
// What a restore --instant in the background writes, until it has succeeded.
inline constexpr std::string_view kInstantLog = "lifeboat.instant.log";
// The state of the mount that a restore --instant has made plain, until its server runs there.
inline constexpr std::string_view kInstantMark = "lifeboat.instant";
// Added to names that have to wait.
inline constexpr std::string_view kStagedSuffix = ".lifeboat_restore";

enum class TreeKind { data_directory, tablespace };

// `directory` is relative to the tree's root, "" for the root itself. nullopt: the mount has no such name.
std::optional<std::string> real_name(TreeKind tree, std::string_view directory, std::string_view shown);
std::optional<std::string> shown_name(TreeKind tree, std::string_view directory, std::string_view real);

// Whether the file or directory of that shown name has another one below the mount.
bool is_staged(TreeKind tree, std::string_view directory, std::string_view shown);

}  // namespace lifeboat::ops
