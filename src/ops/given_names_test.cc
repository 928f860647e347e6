#include "ops/given_names.h"

#include <gtest/gtest.h>

#include <optional>

namespace lifeboat::ops {
namespace {

std::string parts(std::string_view text) {
  auto given = parse_given_table(text);
  if (!given) return given.error().kind == ErrorKind::usage ? "usage" : "another error";
  return given->database + "|" + given->schema + "|" + given->table;
}

TEST(GivenTable, is_read_as_sql_reads_it) {
  EXPECT_EQ(parts("orders"), "||orders");
  EXPECT_EQ(parts("Back.Orders"), "|back|orders");
  EXPECT_EQ(parts("\"Back\".\"Or.d\"\"ers\""), "|Back|Or.d\"ers");
  EXPECT_EQ(parts("shop.public.orders"), "shop|public|orders");
}

TEST(GivenTable, what_sql_cannot_read_is_refused) {
  for (std::string_view text : {"", ".orders", "orders.", "a..b", "\"open", "\"a\"b", "a.b.c.d", "\"\""})
    EXPECT_EQ(parts(text), "usage") << text;
}

TEST(GivenTables, a_database_may_stand_before_its_tables) {
  auto given = read_given_tables({"shop.public.orders", "customers"}, std::nullopt, "postgres");
  ASSERT_TRUE(given);
  EXPECT_EQ(given->database, "shop");
  EXPECT_EQ(given->tables, (std::vector<std::string>{"public.orders", "customers"}));
  EXPECT_EQ(read_given_tables({"orders"}, std::nullopt, "postgres")->database, "postgres");
  EXPECT_EQ(read_given_tables({"shop.public.orders"}, "shop", "postgres")->database, "shop");
  EXPECT_EQ(read_given_tables({"shop.public.\"Orders\""}, "shop", "")->tables.front(), "public.\"Orders\"");
}

TEST(GivenTables, of_two_databases_are_refused) {
  EXPECT_FALSE(read_given_tables({"shop.public.orders"}, "hr", "postgres"));
  EXPECT_FALSE(read_given_tables({"shop.public.orders", "hr.public.people"}, std::nullopt, "postgres"));
}

TEST(NoSuchDatabase, says_what_there_is_and_what_was_meant) {
  Error error = no_such_database("shpo", "at the target", {"shop", "app"}, "Look there.");
  EXPECT_EQ(error.kind, ErrorKind::not_found);
  EXPECT_EQ(error.to_string(), "database \"shpo\": does not exist at the target; there are: app, shop");
  EXPECT_EQ(error.hint, "did you mean shop? Look there.");
  EXPECT_EQ(no_such_database("warehouse", "there", {}).to_string(),
            "database \"warehouse\": does not exist there");
}

TEST(NoSuchTable, suggests_what_was_meant) {
  const std::vector<KnownTable> known = {{"public", "orders"}, {"back", "customers"}, {"public", "Items"}};
  auto hint = [&](std::string_view name) { return no_such_table(name, "is not there", known).hint; };
  EXPECT_EQ(hint("odrers"), "did you mean public.orders?");
  EXPECT_EQ(hint("public.odrers"), "did you mean public.orders?");
  EXPECT_EQ(hint("customers"), "did you mean back.customers?");
  EXPECT_EQ(hint("pulbic.orders"), "did you mean public.orders?");
  EXPECT_EQ(hint("items"), "did you mean public.\"Items\"?");
  Error far = no_such_table("invoices_2026", "is not there", known);
  EXPECT_EQ(far.to_string(),
            "table invoices_2026: is not there; there are: back.customers, public.\"Items\", public.orders");
}

}  // namespace
}  // namespace lifeboat::ops
