#include "app/plan_apply.h"

#include <algorithm>

#include "app/config.h"
#include "app/parse.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr size_t kContext = 2;

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::string_view line : split(text, '\n')) lines.emplace_back(line);
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

// "cluster.main" of "[cluster.main]  # comment"; "" for any other line.
std::string header_of(std::string_view line) {
  line = trim(line);
  if (!line.starts_with('[') || line.starts_with("[[")) return "";
  const size_t end = line.find(']');
  return end == std::string_view::npos ? std::string() : std::string(trim(line.substr(1, end - 1)));
}

std::string key_of(std::string_view line) {
  line = trim(line);
  if (line.starts_with('#') || line.starts_with('[')) return "";
  const size_t end = line.find('=');
  if (end == std::string_view::npos) return "";
  std::string_view key = trim(line.substr(0, end));
  if (key.size() >= 2 && key.front() == '"' && key.back() == '"') key = key.substr(1, key.size() - 2);
  return std::string(key);
}

// How many brackets of lists a line leaves open; those inside of texts do not count, nor does what a comment
// holds.
int open_brackets(std::string_view line) {
  int open = 0;
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == '\\' && quote == '"')
        ++i;
      else if (c == quote)
        quote = 0;
      continue;
    }
    if (c == '"' || c == '\'') quote = c;
    if (c == '#') break;
    if (c == '[') ++open;
    if (c == ']') --open;
  }
  return open;
}

// The line after the value that begins on line `at`.
size_t end_of_value(const std::vector<std::string>& lines, size_t at) {
  std::string_view first = lines[at];
  int open = open_brackets(first.substr(first.find('=') + 1));
  size_t end = at + 1;
  while (open > 0 && end < lines.size()) open += open_brackets(lines[end++]);
  return end;
}

struct Section {
  size_t begin = 0;  // the line after the header
  size_t end = 0;    // the line of the next header, or past the last
};

std::optional<Section> find_section(const std::vector<std::string>& lines, const std::string& name) {
  for (size_t i = 0; i < lines.size(); ++i) {
    if (header_of(lines[i]) != name) continue;
    Section section{i + 1, i + 1};
    while (section.end < lines.size() && header_of(lines[section.end]).empty()) {
      // A list over several lines may have lines that look like headers.
      section.end = key_of(lines[section.end]).empty() ? section.end + 1 : end_of_value(lines, section.end);
    }
    return section;
  }
  return std::nullopt;
}

// After the last line of the section that says anything, so that empty lines and comments before the next
// stay there.
size_t insertion_point(const std::vector<std::string>& lines, const Section& section) {
  size_t at = section.end;
  while (at > section.begin && (trim(lines[at - 1]).empty() || trim(lines[at - 1]).starts_with('#'))) --at;
  return at;
}

std::vector<ConfigJob> jobs_of(std::string_view text, const std::string& cluster) {
  auto parsed = parse_config(text, "the schedule");
  if (!parsed) return {};  // check_configuration() says what is wrong
  const ConfigBlock* block = parsed->find(ConfigSection::cluster, cluster);
  return block == nullptr ? std::vector<ConfigJob>() : block->schedule;
}

// "repo.NAME" of a cluster's repository; "" where no section describes it.
std::string repository_section(std::string_view text, const std::string& cluster) {
  auto parsed = parse_config(text, "the configuration");
  if (!parsed) return "";
  const ConfigBlock* block = parsed->find(ConfigSection::cluster, cluster);
  const ConfigBlock* repository = parsed->only_repo();
  if (block != nullptr && !block->repo.empty())
    repository = block->repo.find(':') == std::string::npos ? parsed->find(ConfigSection::repo, block->repo)
                                                            : parsed->repo_with_url(block->repo);
  return repository == nullptr ? std::string() : cat("repo.", repository->name);
}

// Commands that plans put into a schedule (ready/plan/implement.cc): of one of these another plan may have
// another, without anybody having written it.
bool made_by_a_plan(const std::vector<std::string>& words) {
  static const std::vector<std::vector<std::string>> kMade = {{"backup"},
                                                              {"dump", "create"},
                                                              {"expire"},
                                                              {"verify"},
                                                              {"drill", "--target", "latest"},
                                                              {"drill", "--target", "latest", "--full"},
                                                              {"drill", "--random-target"},
                                                              {"drill", "--dump", "latest"}};
  return std::ranges::find(kMade, words) != kMade.end();
}

void set_line(std::vector<std::string>& lines, const ready::ConfigLine& wanted) {
  std::string text = cat(wanted.key, " = ", wanted.value);
  auto section = find_section(lines, wanted.section);
  if (!section) {
    if (!lines.empty() && !trim(lines.back()).empty()) lines.emplace_back();
    lines.push_back(cat("[", wanted.section, "]"));
    lines.push_back(std::move(text));
    return;
  }
  for (size_t i = section->begin; i < section->end;) {
    if (key_of(lines[i]).empty()) {
      ++i;
      continue;
    }
    const size_t end = end_of_value(lines, i);
    if (key_of(lines[i]) == wanted.key) {
      const auto at = lines.begin() + static_cast<ptrdiff_t>(i);
      lines.erase(at, lines.begin() + static_cast<ptrdiff_t>(end));
      lines.insert(lines.begin() + static_cast<ptrdiff_t>(i), std::move(text));
      return;
    }
    i = end;
  }
  lines.insert(lines.begin() + static_cast<ptrdiff_t>(insertion_point(lines, *section)), std::move(text));
}

}  // namespace

std::string with_plan_lines(std::string_view text, const std::vector<ready::ConfigLine>& wanted) {
  std::vector<std::string> lines = lines_of(text);
  for (const ready::ConfigLine& line : wanted) set_line(lines, line);
  return join(lines, "\n") + "\n";
}

std::string text_of_cluster(std::string_view text, const std::string& cluster) {
  const std::string own = cat("cluster.", cluster);
  const std::string repository = repository_section(text, cluster);
  const std::vector<std::string> lines = lines_of(text);
  std::string found;
  for (const std::string& line : lines) {
    const std::string header = header_of(line);
    if (header.empty() || (header != own && !header.starts_with(own + ".") && header != repository)) continue;
    const Section section = *find_section(lines, header);
    if (!found.empty()) found += '\n';
    for (size_t i = section.begin - 1; i < insertion_point(lines, section); ++i) found += lines[i] + "\n";
  }
  return found;
}

std::vector<std::string> keep_own_jobs(std::string_view text, const std::string& cluster,
                                       std::vector<ready::ConfigLine>& wanted) {
  const std::string section = cat("cluster.", cluster, ".schedule");
  const std::vector<ConfigJob> there = jobs_of(text, cluster);
  std::vector<std::string> kept;
  std::erase_if(wanted, [&](const ready::ConfigLine& line) {
    // How often backups are taken is what the plan is about.
    if (line.section != section || line.key == "backup") return false;
    auto job = std::ranges::find(there, line.key, &ConfigJob::name);
    if (job == there.end() || made_by_a_plan(job->words)) return false;
    const auto planned = jobs_of(cat("[", section, "]\n", line.key, " = ", line.value, "\n"), cluster);
    if (!planned.empty() && planned.front().words == job->words) return false;
    const std::string words = join(job->words, " ");
    const bool own_rules = line.key == "expire" && words.find("-days") != std::string::npos;
    kept.push_back(cat(line.key, ": ", job->when, ": ", words, ", which is yours",
                       own_rules ? ", and whose own rules win over the retention that is planned" : "",
                       "; the plan would have ", line.key, " = ", line.value, ": remove the line from [",
                       section, "] to get that"));
    return true;
  });
  return kept;
}

Status check_configuration(const std::string& text, const std::string& path,
                           const std::vector<ready::ConfigLine>& wanted) {
  auto parsed = parse_config(text, path);
  if (!parsed)
    return std::move(parsed).error().with_hint(
        "the plan's lines do not fit into the file as it is; put them in by hand");
  for (const ready::ConfigLine& line : wanted) {
    // Setting what is set changes nothing, unless the key stands where it was not looked for.
    if (with_plan_lines(text, {line}) != text)
      return make_error(ErrorKind::config, path, cat("[", line.section, "] ", line.key, " could not be set"));
  }
  for (const ConfigBlock& block : parsed->blocks) {
    for (const ConfigJob& job : block.schedule) {
      const std::vector<std::string_view> words(job.words.begin(), job.words.end());
      if (auto command = parse_command_line(words, "/"); !command)
        return make_error(ErrorKind::config, cat(path, ":", job.line),
                          cat(job.name, ": ", command.error().to_string()))
            .with_hint(command.error().hint);
    }
  }
  return {};
}

std::string line_difference(std::string_view before_text, std::string_view after_text) {
  const std::vector<std::string> before = lines_of(before_text);
  const std::vector<std::string> after = lines_of(after_text);
  // Longest common subsequence; configuration files are short.
  std::vector<std::vector<uint32_t>> common(before.size() + 1, std::vector<uint32_t>(after.size() + 1));
  for (size_t i = before.size(); i-- > 0;)
    for (size_t j = after.size(); j-- > 0;)
      common[i][j] =
          before[i] == after[j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
  struct Line {
    char mark;
    const std::string* text;
  };
  std::vector<Line> all;
  size_t i = 0;
  size_t j = 0;
  while (i < before.size() || j < after.size()) {
    if (i < before.size() && j < after.size() && before[i] == after[j]) {
      all.push_back({' ', &before[i++]});
      ++j;
    } else if (i < before.size() && (j == after.size() || common[i + 1][j] >= common[i][j + 1])) {
      all.push_back({'-', &before[i++]});
    } else {
      all.push_back({'+', &after[j++]});
    }
  }
  std::string text;
  bool gap = false;
  for (size_t at = 0; at < all.size(); ++at) {
    bool near = false;
    for (size_t k = at < kContext ? 0 : at - kContext; k <= at + kContext && k < all.size(); ++k)
      near |= all[k].mark != ' ';
    if (!near) {
      gap = !text.empty();
      continue;
    }
    if (gap) text += " …\n";
    gap = false;
    text += cat(std::string(1, all[at].mark), *all[at].text, "\n");
  }
  return text;
}

}  // namespace lifeboat::app
