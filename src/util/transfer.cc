#include "util/transfer.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>

// Options are checked by tests against real servers; the macros would have to call the library directly.
#define CURL_DISABLE_TYPECHECK
#define CURL_DISABLE_DEPRECATION
#include <curl/curl.h>

#include "util/strings.h"

namespace lifeboat {
namespace {

// The functions of libcurl that are used, found by name at the first transfer.
struct Curl {
#define LIFEBOAT_CURL_FUNCTIONS(X) \
  X(curl_global_init)              \
  X(curl_easy_init)                \
  X(curl_easy_setopt)              \
  X(curl_easy_perform)             \
  X(curl_easy_getinfo) X(curl_easy_cleanup) X(curl_easy_strerror) X(curl_slist_append) X(curl_slist_free_all)
#define X(name) decltype(&::name) name = nullptr;
  LIFEBOAT_CURL_FUNCTIONS(X)
#undef X
};

Result<const Curl*> load_curl() {
  static std::mutex mutex;
  static const Curl* ready = nullptr;
  static Curl functions;
  std::lock_guard lock(mutex);
  if (ready != nullptr) return ready;
  void* library = nullptr;
  for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4"}) {
    library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
  }
  if (library == nullptr) {
    return make_error(ErrorKind::unsupported, "libcurl.so.4",
                      "the library for HTTP and mail cannot be loaded")
        .with_hint("apt-get install libcurl4, or on Red Hat systems: dnf install libcurl");
  }
#define X(name)                                                                         \
  functions.name = reinterpret_cast<decltype(functions.name)>(::dlsym(library, #name)); \
  if (functions.name == nullptr)                                                        \
    return make_error(ErrorKind::unsupported, "libcurl.so.4", "the library is too old: it lacks " #name);
  LIFEBOAT_CURL_FUNCTIONS(X)
#undef X
  if (functions.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return make_error(ErrorKind::unsupported, "libcurl.so.4", "the library does not start");
  ready = &functions;
  return ready;
}

size_t drop(char*, size_t size, size_t count, void*) {
  return size * count;
}

struct Unsent {
  std::string_view text;
};
size_t give(char* into, size_t size, size_t count, void* unsent) {
  auto& rest = static_cast<Unsent*>(unsent)->text;
  const size_t taken = std::min(size * count, rest.size());
  std::memcpy(into, rest.data(), taken);
  rest.remove_prefix(taken);
  return taken;
}

int look_at_stop(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const StopToken*>(stop)->stopped() ? 1 : 0;
}

// "https://hooks.example.org" of a URL: the rest may be secret.
std::string host_of(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return "";
  return url.substr(0, url.find_first_of("/?#", scheme + 3));
}

ErrorKind kind_of(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return ErrorKind::timeout;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_LOGIN_DENIED:
    case CURLE_USE_SSL_FAILED:
      return ErrorKind::permission;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return ErrorKind::config;
    case CURLE_ABORTED_BY_CALLBACK:
      return ErrorKind::cancelled;
    default:
      return ErrorKind::unavailable;
  }
}

// One transfer, with the options that all have in common.
class Transfer {
 public:
  Transfer(const Curl& curl, std::string url, const TransferOptions& options)
      : curl_(curl), host_(host_of(url)), handle_(curl.curl_easy_init()) {
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout_ms));
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.timeout_ms));
    set(CURLOPT_WRITEFUNCTION, drop);
    set(CURLOPT_USERAGENT, "lifeboat");
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    set(CURLOPT_ERRORBUFFER, problem_);
    if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
    if (options.stop != nullptr) {
      set(CURLOPT_NOPROGRESS, 0L);
      set(CURLOPT_XFERINFOFUNCTION, look_at_stop);
      set(CURLOPT_XFERINFODATA, const_cast<StopToken*>(options.stop));
    }
  }
  ~Transfer() {
    for (curl_slist* list : lists_) curl_.curl_slist_free_all(list);
    curl_.curl_easy_cleanup(handle_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  template <typename V>
  void set(CURLoption option, V value) {
    curl_.curl_easy_setopt(handle_, option, value);
  }
  void set_list(CURLoption option, const std::vector<std::string>& texts) {
    curl_slist* list = nullptr;
    for (const std::string& text : texts) list = curl_.curl_slist_append(list, text.c_str());
    lists_.push_back(list);
    set(option, list);
  }
  Status perform() {
    const CURLcode code = curl_.curl_easy_perform(handle_);
    if (code == CURLE_OK) return {};
    const std::string cause = problem_[0] != '\0' ? problem_ : curl_.curl_easy_strerror(code);
    return make_error(kind_of(code), host_, "nothing could be delivered").with_cause(cause);
  }
  template <typename V>
  V info(CURLINFO what, V otherwise) const {
    V value = otherwise;
    return curl_.curl_easy_getinfo(handle_, what, &value) == CURLE_OK ? value : otherwise;
  }

 private:
  const Curl& curl_;
  std::string host_;
  CURL* handle_;
  std::vector<curl_slist*> lists_;
  char problem_[CURL_ERROR_SIZE] = {};
};

}  // namespace

Result<HttpAnswer> http_post(const HttpRequest& request, const TransferOptions& options) {
  TRY_ASSIGN(const Curl* curl, load_curl());
  Transfer transfer(*curl, request.url, options);
  transfer.set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
  transfer.set(CURLOPT_POST, 1L);
  transfer.set(CURLOPT_POSTFIELDS, request.body.c_str());
  transfer.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  std::vector<std::string> headers = request.headers;
  headers.emplace_back("Expect:");  // no round trip before the body
  transfer.set_list(CURLOPT_HTTPHEADER, headers);
  TRY(transfer.perform());
  HttpAnswer answer;
  answer.status = static_cast<int>(transfer.info<long>(CURLINFO_RESPONSE_CODE, 0));
  const auto after = transfer.info<curl_off_t>(CURLINFO_RETRY_AFTER, 0);
  if (after > 0) answer.retry_after_s = after;
  return answer;
}

Status send_mail(const MailDelivery& mail, const TransferOptions& options) {
  TRY_ASSIGN(const Curl* curl, load_curl());
  Transfer transfer(*curl, mail.server, options);
  transfer.set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_SMTP | CURLPROTO_SMTPS));
  transfer.set(CURLOPT_USE_SSL, static_cast<long>(mail.tls ? CURLUSESSL_ALL : CURLUSESSL_TRY));
  if (!mail.user.empty()) {
    transfer.set(CURLOPT_USERNAME, mail.user.c_str());
    transfer.set(CURLOPT_PASSWORD, mail.password.c_str());
  }
  transfer.set(CURLOPT_MAIL_FROM, cat("<", mail.from, ">").c_str());
  std::vector<std::string> to;
  for (const std::string& address : mail.to) to.push_back(cat("<", address, ">"));
  transfer.set_list(CURLOPT_MAIL_RCPT, to);
  Unsent unsent{mail.text};
  transfer.set(CURLOPT_READFUNCTION, give);
  transfer.set(CURLOPT_READDATA, &unsent);
  transfer.set(CURLOPT_UPLOAD, 1L);
  return transfer.perform();
}

}  // namespace lifeboat
