#include "driver/jit/cache.h"
#include "driver/jit/build.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

namespace fs = std::filesystem;

CacheKey key_for(std::string_view text) {
  return KeyBuilder("test").add(text).key();
}

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file()) files.push_back(entry.path());
  return files;
}

class CacheTest : public ::testing::Test {
 protected:
  ScratchDirectory scratch_;
  std::string directory_ = scratch_.path() + "/cache";
  Cache cache_{directory_};
};

TEST_F(CacheTest, KeepsWhatItIsGiven) {
  std::mt19937_64 random(7);
  for (const size_t size : {0, 1, 47, 48, 4096, 1'000'000}) {
    std::string payload(size, '\0');
    for (char& c : payload) c = static_cast<char>(random());
    const CacheKey key = key_for(std::to_string(size));
    EXPECT_EQ(cache_.load(key), std::nullopt);
    EXPECT_TRUE(cache_.store(key, payload));
    EXPECT_EQ(cache_.load(key), payload);
    EXPECT_EQ(Cache(directory_).load(key), payload);
  }
  EXPECT_EQ(cache_.take_warning(), "");
  for (const std::string& file : files_below(directory_))
    EXPECT_EQ(fs::path(file).filename().string().size(), 30u) << file;
}

TEST_F(CacheTest, FieldsDoNotRunTogether) {
  std::set<std::string> keys;
  keys.insert(KeyBuilder("p").add("ab").add("c").key().hex());
  keys.insert(KeyBuilder("p").add("a").add("bc").key().hex());
  keys.insert(KeyBuilder("p").add("abc").key().hex());
  keys.insert(KeyBuilder("p").add("abc").add("").key().hex());
  keys.insert(KeyBuilder("q").add("abc").key().hex());
  EXPECT_EQ(keys.size(), 5u);
}

TEST_F(CacheTest, EveryDamageIsFoundAndRemoved) {
  const CacheKey key = key_for("x"), other = key_for("y");
  const std::string payload = "some cubin, " + std::string(100, 'z');
  ASSERT_TRUE(cache_.store(key, payload));
  const std::string path = cache_.entry_path(key);
  const std::string good = read_file(path);
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write_file(path, bad);
    EXPECT_EQ(cache_.load(key), std::nullopt) << "byte " << at;
    EXPECT_FALSE(fs::exists(path)) << "byte " << at;
  }
  for (size_t size = 0; size < good.size(); ++size) {
    write_file(path, good.substr(0, size));
    EXPECT_EQ(cache_.load(key), std::nullopt) << "size " << size;
    EXPECT_FALSE(fs::exists(path));
  }
  write_file(path, good + "x");
  EXPECT_EQ(cache_.load(key), std::nullopt);
  // A whole entry under another's name.
  fs::create_directories(fs::path(cache_.entry_path(other)).parent_path());
  write_file(cache_.entry_path(other), good);
  EXPECT_EQ(cache_.load(other), std::nullopt);
  ASSERT_TRUE(cache_.store(key, payload));
  EXPECT_EQ(cache_.load(key), payload);
}

// Each payload says what it must be, so that a torn or mixed entry would show.
std::string payload_of(int which, int version) {
  std::string payload = std::to_string(which) + ":" + std::to_string(version) + ":";
  return payload + std::string(20'000 + static_cast<size_t>(version) * 37, static_cast<char>('a' + which));
}
bool is_whole(const std::string& payload, int which) {
  const size_t first = payload.find(':'), second = payload.find(':', first + 1);
  if (second == payload.npos) return false;
  return std::stoi(payload) == which && payload == payload_of(which, std::stoi(payload.substr(first + 1)));
}

TEST_F(CacheTest, ManyProcessesShareIt) {
  constexpr int kProcesses = 8, kRounds = 60, kKeys = 3;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // No assertions here: the exit status tells.
      const Cache mine(directory_);
      std::mt19937 random(static_cast<unsigned>(p));
      for (int round = 0; round < kRounds; ++round) {
        const int which = static_cast<int>(random() % kKeys);
        const CacheKey key = key_for("shared" + std::to_string(which));
        if (!mine.store(key, payload_of(which, static_cast<int>(random() % 50)))) _exit(2);
        const auto seen = mine.load(key);
        if (seen && !is_whole(*seen, which)) _exit(3);
        if (!seen && p == 0) _exit(4);  // nobody removes a good entry
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
  EXPECT_EQ(files_below(directory_).size(), static_cast<size_t>(kKeys)) << "temporary files were left";
}

TEST_F(CacheTest, AKilledWriterLeavesNoEntry) {
  // A writer that dies before its rename: what it leaves is never read.
  const CacheKey key = key_for("killed");
  ASSERT_TRUE(cache_.store(key, "first"));
  write_file(cache_.entry_path(key) + ".AbCdEf", "half an ent");
  EXPECT_EQ(cache_.load(key), "first");
}

TEST_F(CacheTest, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < 30; ++round) {
        const CacheKey key = key_for(fmt::format("t{}", round % 3));
        EXPECT_TRUE(cache_.store(key, payload_of(round % 3, t)));
        const auto seen = cache_.load(key);
        ASSERT_TRUE(seen);
        EXPECT_TRUE(is_whole(*seen, round % 3));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST_F(CacheTest, WorksWithoutAPlaceToWriteAndSaysSoOnce) {
  // A file where the directory should be: refused to root as well, unlike permission bits.
  write_file(scratch_.path() + "/file", "");
  const Cache cache(scratch_.path() + "/file/cache");
  const CacheKey key = key_for("x");
  EXPECT_EQ(cache.load(key), std::nullopt);
  EXPECT_FALSE(cache.store(key, "payload"));
  EXPECT_FALSE(cache.store(key, "payload"));
  EXPECT_EQ(cache.load(key), std::nullopt);
  EXPECT_THAT(cache.take_warning(),
              ::testing::StartsWith("kernel cache off: cannot make " + scratch_.path()));
  EXPECT_EQ(cache.take_warning(), "");
}

// Permission bits do not bind root: for its life root is nobody, who owns `directory`.
class NotRoot {
 public:
  explicit NotRoot(const std::string& directory) {
    if (geteuid() != 0) return;
    if (chown(directory.c_str(), kNobody, -1) != 0 || seteuid(kNobody) != 0)
      throw std::runtime_error("cannot become nobody");
    root_ = true;
  }
  ~NotRoot() {
    if (root_ && seteuid(0) != 0) std::abort();
  }
  NotRoot(const NotRoot&) = delete;

 private:
  static constexpr uid_t kNobody = 65534;
  bool root_ = false;
};

TEST_F(CacheTest, ReadOnlyDirectory) {
  const NotRoot user(scratch_.path());
  const CacheKey key = key_for("x");
  ASSERT_TRUE(cache_.store(key, "payload"));
  for (const auto& entry : fs::directory_iterator(directory_)) chmod(entry.path().c_str(), 0500);
  chmod(directory_.c_str(), 0500);
  EXPECT_EQ(cache_.load(key), "payload");
  EXPECT_FALSE(cache_.store(key_for("y"), "other"));
  EXPECT_NE(cache_.take_warning(), "");
  chmod(directory_.c_str(), 0700);
  for (const auto& entry : fs::directory_iterator(directory_)) chmod(entry.path().c_str(), 0700);
}

TEST_F(CacheTest, Environment) {
  const ScopedEnv home("HOME", "/h"), xdg("XDG_CACHE_HOME", "/x"), dir("PTXOPS_CACHE_DIR", "/d"),
      on("PTXOPS_CACHE", "");
  EXPECT_EQ(Cache::from_environment().directory(), "/d");
  {
    const ScopedEnv none("PTXOPS_CACHE_DIR", "");
    EXPECT_EQ(Cache::from_environment().directory(), "/x/ptxops");
    const ScopedEnv no_xdg("XDG_CACHE_HOME", "");
    EXPECT_EQ(Cache::from_environment().directory(), "/h/.cache/ptxops");
    const ScopedEnv no_home("HOME", "");
    EXPECT_FALSE(Cache::from_environment().enabled());
  }
  {
    const ScopedEnv typo("PTXOPS_CACHE", "0");
    try {
      Cache::from_environment();
      FAIL() << "a typo would leave the cache on";
    } catch (const BuildError& e) {
      EXPECT_STREQ(e.what(), "PTXOPS_CACHE: expected off, or to be unset, got \"0\"");
    }
  }
  const ScopedEnv off("PTXOPS_CACHE", "off");
  const Cache cache = Cache::from_environment();
  EXPECT_FALSE(cache.enabled());
  EXPECT_FALSE(cache.store(key_for("x"), "p"));
  EXPECT_EQ(cache.load(key_for("x")), std::nullopt);
  EXPECT_EQ(cache.take_warning(), "");
}

}  // namespace
}  // namespace ptxops::jit
