// The list of commands, in the order of the help. Each entry stands beside its handler in cli/.
#include <algorithm>

#include "app/command.h"

namespace lifeboat::app {

extern const Command kAlertCheckCommand;
extern const Command kAlertDashboardCommand;
extern const Command kAlertRulesCommand;
extern const Command kAlertTestCommand;
extern const Command kBackupCommand;
extern const Command kDiffCommand;
extern const Command kDoctorCommand;
extern const Command kDrillCommand;
extern const Command kDumpCreateCommand;
extern const Command kDumpListCommand;
extern const Command kDumpRestoreCommand;
extern const Command kDumpShowCommand;
extern const Command kExpireCommand;
extern const Command kHealBlocksCommand;
extern const Command kHealCommand;
extern const Command kHealLogCommand;
extern const Command kHealIndexesCommand;
extern const Command kHelpCommand;
extern const Command kInitCommand;
extern const Command kInternalCommand;
extern const Command kKeyAddCommand;
extern const Command kKeyCheckCommand;
extern const Command kKeyListCommand;
extern const Command kListCommand;
extern const Command kMarkCommand;
extern const Command kMetricsCommand;
extern const Command kMountCommand;
extern const Command kPlanCommand;
extern const Command kRecoverCommand;
extern const Command kReportCommand;
extern const Command kRestoreCommand;
extern const Command kRollbackCommand;
extern const Command kRunbookCommand;
extern const Command kScheduleCronCommand;
extern const Command kScheduleSystemdCommand;
extern const Command kServeCommand;
extern const Command kShowCommand;
extern const Command kStandbyCreateCommand;
extern const Command kStatusCommand;
extern const Command kVerifyCommand;
extern const Command kVersionCommand;
extern const Command kWalBeaconCommand;
extern const Command kWalCheckCommand;
extern const Command kWalFindCommand;
extern const Command kWalGetCommand;
extern const Command kWalPushCommand;
extern const Command kWalReceiveCommand;
extern const Command kWalStatusCommand;

namespace {

constinit const Command* const kCommands[] = {
    &kPlanCommand,
    &kInitCommand,
    &kDoctorCommand,
    &kStatusCommand,
    &kBackupCommand,
    &kRestoreCommand,
    &kRollbackCommand,
    &kRecoverCommand,
    &kStandbyCreateCommand,
    &kMountCommand,
    &kDrillCommand,
    &kReportCommand,
    &kRunbookCommand,
    &kDiffCommand,
    &kHealCommand,
    &kHealLogCommand,
    &kHealBlocksCommand,
    &kHealIndexesCommand,
    &kVerifyCommand,
    &kListCommand,
    &kShowCommand,
    &kExpireCommand,
    &kDumpCreateCommand,
    &kDumpListCommand,
    &kDumpShowCommand,
    &kDumpRestoreCommand,
    &kWalPushCommand,
    &kWalGetCommand,
    &kWalReceiveCommand,
    &kWalStatusCommand,
    &kWalFindCommand,
    &kWalCheckCommand,
    &kWalBeaconCommand,
    &kMarkCommand,
    &kAlertCheckCommand,
    &kAlertTestCommand,
    &kAlertRulesCommand,
    &kAlertDashboardCommand,
    &kMetricsCommand,
    &kServeCommand,
    &kScheduleSystemdCommand,
    &kScheduleCronCommand,
    &kKeyListCommand,
    &kKeyAddCommand,
    &kKeyCheckCommand,
    &kHelpCommand,
    &kVersionCommand,
    &kInternalCommand,
};

}  // namespace

CommandTable commands() {
  return kCommands;
}

const Command* find_command(std::string_view path, CommandTable table) {
  auto found = std::ranges::find_if(table, [&](const Command* command) { return command->path == path; });
  return found == table.end() ? nullptr : *found;
}

const Option* find_option(const Command& command, std::string_view name) {
  const Option* found = nullptr;
  for_each_option(command, [&](const Option& option) {
    if (option.name == name) found = &option;
  });
  return found;
}

}  // namespace lifeboat::app
