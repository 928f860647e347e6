// Configuration of the source never leads a copy back to the source's files (T10).
#include "ops/restore/config_text.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

const std::vector<repo::ExternalFile> kDebian = {
    {"/etc/postgresql/15/main/postgresql.conf", "000-postgresql.conf", "config_file"},
    {"/etc/postgresql/15/main/pg_hba.conf", "001-pg_hba.conf", "hba_file"},
    {"/etc/postgresql/15/main/conf.d/tuning.conf", "002-tuning.conf", ""},
    {"/srv/shared/site.conf", "003-site.conf", ""},
};
constexpr std::string_view kData = "/var/lib/postgresql/15/main";
constexpr std::string_view kConf = "/etc/postgresql/15/main/postgresql.conf";

AdoptedConfig adopt(std::string_view text, ConfigSyntax syntax = ConfigSyntax::settings,
                    const std::string& source = std::string(kConf),
                    const std::string& place = "postgresql.conf") {
  return adopt_config(text, source, place, ConfigPlaces(std::string(kData), kDebian), syntax);
}

TEST(ConfigLine, is_taken_apart_as_postgresql_does) {
  struct Case {
    std::string_view line;
    std::string_view name;
    std::string_view value;
  };
  for (const Case& c :
       {Case{"port = 5433", "port", "5433"}, Case{"  Port 5433  # why", "port", "5433"},
        Case{"a.b='it''s'", "a.b", "it's"}, Case{"x = 'back\\'slash\\n'", "x", "back'slash\n"},
        Case{"x = '\\101'", "x", "A"}, Case{"include_dir 'conf.d'", "include_dir", "conf.d"},
        Case{"x='a # no comment'", "x", "a # no comment"}}) {
    auto parsed = parse_config_line(c.line);
    ASSERT_TRUE(parsed) << c.line;
    EXPECT_EQ(parsed->name, c.name);
    EXPECT_EQ(parsed->value, c.value);
  }
  for (std::string_view line : {"", "# port = 1", "   ", "port =", "= 5", "x = 'open", "1x = 2"}) {
    EXPECT_FALSE(parse_config_line(line)) << line;
  }
}

TEST(LastSetting, the_last_line_wins) {
  EXPECT_EQ(last_setting("a = 1\nb = 2\n#a = 3\nA = 4\n", "a"), "4");
  EXPECT_EQ(last_setting("b = 2\n", "a"), std::nullopt);
}

TEST(AdoptConfig, lines_that_place_the_originals_files_are_commented_out) {
  AdoptedConfig adopted = adopt(
      "port = 5432\ndata_directory = '/var/lib/postgresql/15/main'\n"
      "hba_file='/etc/x'\nident_file='/etc/y'\nexternal_pid_file = '/run/z'\nssl = on\n");
  EXPECT_EQ(last_setting(adopted.text, "data_directory"), std::nullopt);
  EXPECT_EQ(last_setting(adopted.text, "hba_file"), std::nullopt);
  EXPECT_EQ(last_setting(adopted.text, "ident_file"), std::nullopt);
  EXPECT_EQ(last_setting(adopted.text, "external_pid_file"), std::nullopt);
  EXPECT_EQ(last_setting(adopted.text, "port"), "5432");
  EXPECT_EQ(last_setting(adopted.text, "ssl"), "on");
  EXPECT_EQ(adopted.notes.size(), 4u);
}

TEST(AdoptConfig, text_without_such_lines_stays_byte_for_byte) {
  std::string text = "# data_directory = 'x'\nport = 5432\r\n\n  shared_buffers=1GB";
  AdoptedConfig adopted = adopt(text);
  EXPECT_EQ(adopted.text, text);
  EXPECT_FALSE(adopted.changed);
}

TEST(AdoptConfig, includes_lead_to_the_captured_copies) {
  AdoptedConfig adopted = adopt(
      "include_dir = 'conf.d'\ninclude '/srv/shared/site.conf'\n"
      "include_if_exists = '/srv/shared/absent.conf'\ninclude_dir '/srv/empty'\n");
  EXPECT_EQ(adopted.text,
            "include_dir = 'conf.d'\ninclude 'lifeboat.conf.d/srv/shared/site.conf'\n"
            "# not in the backup: include_if_exists = '/srv/shared/absent.conf'\n"
            "# not in the backup: include_dir '/srv/empty'\n");
  EXPECT_EQ(adopted.directories, std::vector<std::string>{"conf.d"});
}

TEST(AdoptConfig, a_file_in_a_subdirectory_finds_its_way_up) {
  AdoptedConfig adopted =
      adopt("include '/srv/shared/site.conf'\ninclude '../conf.d/tuning.conf'\n", ConfigSyntax::settings,
            "/etc/postgresql/15/main/conf.d/tuning.conf", "conf.d/tuning.conf");
  EXPECT_EQ(adopted.text,
            "include '../lifeboat.conf.d/srv/shared/site.conf'\ninclude '../conf.d/tuning.conf'\n");
}

TEST(AdoptConfig, a_configuration_inside_the_data_directory_is_made_fit_too) {
  AdoptedConfig adopted = adopt(
      "data_directory = '/var/lib/postgresql/15/main'\ninclude '/var/lib/postgresql/15/main/own.conf'\n",
      ConfigSyntax::settings, std::string(kData) + "/postgresql.conf");
  EXPECT_EQ(
      adopted.text,
      "# names the original's files: data_directory = '/var/lib/postgresql/15/main'\ninclude 'own.conf'\n");
}

TEST(AdoptConfig, access_rules_keep_words_that_look_like_settings) {
  std::string text = "local all all peer\nhost data_directory all 10.0.0.0/8 md5\n";
  EXPECT_EQ(adopt(text, ConfigSyntax::access).text, text);
  EXPECT_EQ(adopt("data_directory x\n", ConfigSyntax::access).text, "data_directory x\n");
}

TEST(ConfigPlaces, main_files_get_their_names_and_nothing_of_postgresqls_is_overwritten) {
  std::vector<repo::ExternalFile> files = kDebian;
  files.push_back({"/etc/postgresql/15/main/pg_wal/evil.conf", "004-evil.conf", ""});
  files.push_back({"/etc/postgresql/15/main/base", "005-base", ""});
  ConfigPlaces places{std::string(kData), files};
  EXPECT_EQ(*places.place(std::string(kConf)), "postgresql.conf");
  EXPECT_EQ(*places.place("/etc/postgresql/15/main/pg_hba.conf"), "pg_hba.conf");
  EXPECT_EQ(*places.place("/etc/postgresql/15/main/conf.d/tuning.conf"), "conf.d/tuning.conf");
  EXPECT_EQ(*places.place("/etc/postgresql/15/main/pg_wal/evil.conf"),
            "lifeboat.conf.d/etc/postgresql/15/main/pg_wal/evil.conf");
  EXPECT_EQ(*places.place("/etc/postgresql/15/main/base"), "lifeboat.conf.d/etc/postgresql/15/main/base");
  EXPECT_EQ(places.place("/etc/passwd"), nullptr);
}

TEST(NormalPath, dots_and_doubled_slashes_go) {
  EXPECT_EQ(normal_path("/a/./b//../c/", "/"), "/a/c");
  EXPECT_EQ(normal_path("x/y", "/base"), "/base/x/y");
  EXPECT_EQ(normal_path("/../..", "/"), "/");
}

}  // namespace
}  // namespace lifeboat::ops
