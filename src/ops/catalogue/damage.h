// Damage that a check found in one backup and that others have with it, since backups share packs.
//
// A verification of the whole repository says it of each backup by itself. One of a single backup, or a
// drill, names the pack only: then every other backup that refers to this pack, and was not found whole
// since, is held to be as damaged. By pack, not by frame: the tree of a backup is not read for it.
#pragma once

#include <optional>
#include <string>

#include "ops/catalogue/proof.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// Takes the verdict of such backups back in `proofs`. What is lost of them is passed over; errors are those
// of the store. Reads nothing as long as no check that failed names a pack.
Status spread_damage(const repo::LineageRepo& repo, Proofs& proofs);

// What a verification or a drill found wrong with the bytes of a backup, where nothing took it back since;
// nullopt: nothing. Answers to the operator's own questions are no damage.
std::optional<std::string> found_damaged(const Proofs& proofs, const BackupId& backup);
std::set<BackupId> found_damaged(const Proofs& proofs);

// Its bytes in the repository were found damaged by a verification, so that a restore ends half-way. What was
// broken in the source already (state damaged), or fails a drill's checks, restores with that blemish.
bool cannot_restore(const repo::Card& card, const Proofs& proofs);

}  // namespace lifeboat::ops
