// Hooks: commands of the section [cluster.NAME.hooks] that run before and after one of ours (I2;
// docs/hooks.md is the contract with the people who write them). run() calls them for every command whose
// entry in the table says so; no handler knows of them.
//
// A hook is started directly, never through a shell, so nothing in a name, label or path can become a
// command. It gets what is going on as one JSON document on standard input and the common options as
// LIFEBOAT_* variables; keys and passphrases are named by their files only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/command.h"
#include "app/config.h"
#include "util/result.h"

namespace lifeboat::app {

class Invocation;

// What the names of a command's hooks end with: its path with dashes, "dump-create" of `dump create`.
std::string hook_suffix(const Command& command);

// Variables whose names begin so are for hooks to read; our own options never do.
inline constexpr std::string_view kHookVariable = "LIFEBOAT_HOOK";

class Hooks {
 public:
  // None for a command without hooks, for a call that only shows or answers something (--dry-run, --gate),
  // and inside of a hook, which would start itself again. Borrows the invocation.
  explicit Hooks(const Invocation& invocation);

  // `hook_failed` when the hook cannot be started, ends with anything but 0, or takes too long; `cancelled`
  // when a signal came meanwhile. The command must not run then, nor after().
  Status before() const;
  // Call it however the command ended. Returns `result`, or when that is a success `hook_failed`; beside a
  // failure of the command the hook's is a warning. A signal does not keep it from running: it may have to
  // undo what before() did.
  Result<int> after(Result<int> result) const;

 private:
  const ConfigHook* find(std::string_view when) const;
  Status run(const ConfigHook& hook, const Result<int>* result) const;
  Error failure(const ConfigHook& hook, std::string message) const;

  const Invocation& invocation_;
  const ConfigBlock* section_ = nullptr;  // null: there are none
};

}  // namespace lifeboat::app
