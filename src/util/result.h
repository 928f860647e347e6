// Result<T>: a value or an Error. Member names follow std::expected (C++23), which g++-12 does not have in
// C++20.
//
//   Result<Lsn> parse_lsn(std::string_view);
//   TRY_ASSIGN(Lsn lsn, parse_lsn(text));   // returns the error to the caller
//   TRY(store.remove(name));
#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "util/check.h"
#include "util/error.h"

namespace lifeboat {

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & { return *get(); }
  const T& value() const& { return *const_cast<Result*>(this)->get(); }
  T&& value() && { return std::move(*get()); }
  T& operator*() & { return *get(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*get()); }
  T* operator->() { return get(); }
  const T* operator->() const { return const_cast<Result*>(this)->get(); }

  template <typename U>
  T value_or(U&& fallback) && {
    return has_value() ? std::move(*get()) : static_cast<T>(std::forward<U>(fallback));
  }

  Error& error() & { return *failure(); }
  const Error& error() const& { return *const_cast<Result*>(this)->failure(); }
  Error&& error() && { return std::move(*failure()); }

 private:
  T* get() {
    CHECK(has_value());
    return std::get_if<0>(&state_);
  }
  Error* failure() {
    CHECK(!has_value());
    return std::get_if<1>(&state_);
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  Error& error() & {
    CHECK(error_.has_value());
    return *error_;
  }
  const Error& error() const& {
    CHECK(error_.has_value());
    return *error_;
  }
  Error&& error() && {
    CHECK(error_.has_value());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace lifeboat

#define LIFEBOAT_CONCAT2(a, b) a##b
#define LIFEBOAT_CONCAT(a, b) LIFEBOAT_CONCAT2(a, b)
// Evaluates an expression of type Result<…> and returns its error from the enclosing function.
#define TRY(...) LIFEBOAT_TRY(LIFEBOAT_CONCAT(try_result_, __COUNTER__), __VA_ARGS__)
#define LIFEBOAT_TRY(temporary, ...)                                                       \
  do {                                                                                     \
    if (auto&& temporary = (__VA_ARGS__); !temporary) return std::move(temporary).error(); \
  } while (0)
// TRY_ASSIGN(declaration, expression): declares or assigns the value, or returns the error.
#define TRY_ASSIGN(target, ...) \
  LIFEBOAT_TRY_ASSIGN(LIFEBOAT_CONCAT(try_value_, __COUNTER__), target, __VA_ARGS__)
#define LIFEBOAT_TRY_ASSIGN(temporary, target, ...)    \
  auto temporary = (__VA_ARGS__);                      \
  if (!temporary) return std::move(temporary).error(); \
  target = std::move(temporary).value()
