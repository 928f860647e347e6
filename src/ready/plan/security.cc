// Encryption, custody of keys, copies elsewhere, and the threats that the plan answers (P8).
#include <algorithm>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

bool local_directory(const std::string& url) {
  return url.starts_with("file:") || url.starts_with('/');
}

std::string repository_url(const Planning& planning) {
  const auto& repository = planning.facts.repository;
  return repository && !repository->url.empty() ? repository->url : planning.demands.storage.url;
}

// yes, no or unknown: does a copy live off the database host?
std::string off_host(const Planning& planning) {
  if (!planning.demands.storage.second_copy.empty()) return "yes";
  const std::string url = repository_url(planning);
  if (planning.facts.repository && planning.facts.repository->on_data_device) return "no";
  if (url.empty()) return "unknown";
  return local_directory(url) ? "unknown" : "yes";
}

// What crosses networks: to the repository, and to the server.
void look_at_transit(Planning& planning) {
  std::vector<std::string>& security = planning.plan.security;
  const std::string url = repository_url(planning);
  if (!url.empty())
    security.emplace_back(
        local_directory(url)
            ? "in transit to the repository: it is a directory, reached without a network of "
              "Lifeboat's own; of one that is mounted from elsewhere, the mount has to encrypt"
            : "in transit to the repository: TLS, certificates verified");
  const auto& server = planning.facts.server;
  const Connection connection = server ? server->connection : Connection::unknown;
  if (connection == Connection::unknown) {
    security.emplace_back("in transit from the server: how it is reached was not seen");
    return;
  }
  security.push_back(connection == Connection::local_socket
                         ? std::string("in transit from the server: a local socket, which needs no TLS")
                         : cat("in transit from the server: ", to_string(connection)));
  // Whether pg_hba.conf demands it of anybody is nothing that pg_monitor may read.
  security.emplace_back(planning.setting("ssl") == "on"
                            ? "TLS for network clients: the server offers it (ssl = on); whether pg_hba.conf "
                              "demands it (hostssl) was not seen"
                            : "TLS for network clients: not seen (ssl = off)");
  if (connection == Connection::plain)
    planning.gap(
        GapWeight::critical, "transit",
        "the connection to the server crosses a network without TLS: whoever listens reads the database",
        "ssl = on in the server, sslmode=verify-full in --pg, hostssl in pg_hba.conf");
}

void look_at_encryption(Planning& planning) {
  std::vector<std::string>& security = planning.plan.security;
  const auto& repository = planning.facts.repository;
  const bool plain = repository && repository->problem.empty() && !repository->encrypted;
  security.emplace_back(plain ? "at rest: not encrypted"
                              : "at rest: AES-256-GCM, every object sealed before it leaves the process");
  if (!repository || !repository->problem.empty()) {
    security.emplace_back(
        "keys: made by lifeboat init --key-file; a second one for escrow (lifeboat key add), kept away "
        "from the database host, so that a restore needs nothing of what is lost");
    return;
  }
  if (!repository->encrypted) {
    planning.gap(
        GapWeight::critical, "encryption",
        "the repository is not encrypted: whoever reads it reads the database",
        "make a new repository with --key-file and let the old one expire: encryption is chosen when a "
        "repository is made");
    return;
  }
  security.push_back(cat("keys: ", counted(repository->key_slots, "key slot")));
  if (repository->key_slots < 2)
    planning.gap(GapWeight::critical, "key_custody",
                 "one key opens the repository: when it is lost with the host, so are the backups",
                 "lifeboat key add --new-passphrase-file for escrow, then lifeboat key check");
}

void look_at_copies(Planning& planning, const std::string& off) {
  if (off == "no")
    planning.gap(
        GapWeight::critical, "off_site",
        "policy: the only copy is on the device of the data: what destroys one destroys both",
        "a repository on another host, and a copy of it in another region or account (storage.second_copy)",
        DecisionRecord{"No copy off the database host",
                       "Repository and data share a device.",
                       {"a repository off this host",
                        "accept in writing that the loss of the device loses everything"}});
  else if (off == "unknown")
    planning.gap(GapWeight::advice, "off_site",
                 "nothing that was stated or read shows a copy off the database host",
                 "state storage.url or storage.second_copy, or run lifeboat plan --inspect");
  if (planning.demands.storage.second_copy.empty()) {
    planning.plan.security.emplace_back("off-site: no second copy is stated");
  } else {
    planning.plan.security.push_back(cat("off-site: a copy at ", planning.demands.storage.second_copy));
  }
}

void list_threats(Planning& planning, const std::string& off) {
  Plan& plan = planning.plan;
  const bool physical = planning.physical();
  const auto& repository = planning.facts.repository;
  const std::string copy = off == "yes" ? "yes" : off;
  plan.threats.push_back(
      {"hardware", physical ? "restore from the repository" : "restore of the newest dump", copy});
  plan.threats.push_back(
      {"human error",
       physical ? cat("recovery to the moment before it, within ", days_text(*plan.retention.pitr_days),
                      "; single tables by restore --table")
                : std::string("the last dump before it; what came after is lost"),
       "yes"});
  const bool checksums = planning.facts.server && planning.facts.server->data_checksums;
  const bool verified = repository && repository->newest_verified.valid();
  plan.threats.push_back({"corruption",
                          cat(checksums ? "page checksums are checked by every backup"
                                        : "no page checksums: only drills (amcheck) see broken pages",
                              "; verify reads every stored byte weekly; drills check what came back"),
                          checksums && verified   ? "yes"
                          : planning.facts.server ? "no"
                                                  : "unknown"});
  const bool second = !planning.demands.storage.second_copy.empty();
  plan.threats.push_back({"disaster",
                          second ? cat("a copy at ", planning.demands.storage.second_copy)
                                 : std::string("no copy in another region or account is stated"),
                          second ? "yes" : "no"});
  const double immutable = planning.demands.storage.immutable_days.value_or(0);
  const bool locked = immutable >= plan.retention.pitr_days.value_or(plan.retention.keep_days);
  plan.threats.push_back(
      {"ransomware",
       immutable > 0 ? cat("copies that nobody can delete for ", days_text(immutable),
                           locked ? "" : ", which is shorter than the window")
                     : std::string("no immutable copy is stated (object lock, storage.immutable_days): "
                                   "whoever has the credentials can delete everything"),
       locked && immutable > 0 ? "yes" : "no"});
  if (!locked || immutable <= 0)
    planning.gap(
        GapWeight::advice, "immutability", plan.threats.back().answer,
        "object lock for the length of the window, and credentials on the database host that cannot delete");
}

}  // namespace

void look_at_security(Planning& planning) {
  look_at_encryption(planning);
  look_at_transit(planning);
  const std::string off = off_host(planning);
  look_at_copies(planning, off);
  list_threats(planning, off);
}

}  // namespace lifeboat::ready
