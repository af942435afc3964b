// A rank that fails, ends, hangs or does something else than the others ends all of them, soon, with its name.
#include <chrono>
#include <cstdlib>
#include <thread>
#include <tuple>

#include "parallel/ranks.h"

namespace sorus::comm {
namespace {

using namespace std::chrono_literals;
using test::Ended;
using test::run_processes;

constexpr Options kShort{.timeout = 20s, .hang = 700ms};

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }
#define EXPECT_CONTAINS(text, part) EXPECT_TRUE(contains(text, part)) << text

TEST(Failure, an_exception_of_one_thread_is_thrown_by_run_ranks_and_ends_the_others) {
  std::atomic<int> others{0};
  std::string error = error_of([&] {
    run_ranks(3, [&] {
      if (group().rank() == 1) throw ValueError("no such file");
      try {
        group().barrier();
      } catch (const CommError& e) {
        others += contains(e.what(), "rank 1") && contains(e.what(), "no such file");
        throw;
      }
    });
  });
  EXPECT_EQ(error, "no such file");
  EXPECT_EQ(others, 2);
}

TEST(Failure, other_operations_or_sizes_are_told) {
  std::string error = error_of([] {
    run_ranks(2, [] {
      float x[8] = {};
      if (group().rank() == 0)
        group().all_reduce(x, 8, DType::f32);
      else
        group().barrier();
    });
  });
  EXPECT_CONTAINS(error, "disagree");
  EXPECT_CONTAINS(error, "all_reduce of 8 float32");
  EXPECT_CONTAINS(error, "barrier");
  error = error_of([] {
    run_ranks(2, [] {
      std::vector<float> x(9000);
      group().all_reduce(x.data(), 8000 + group().rank(), DType::f32);
    });
  });
  EXPECT_CONTAINS(error, "8001");
}

TEST(Failure, ranks_that_wait_for_each_other_are_told) {
  std::string error = error_of([] {
    run_ranks(
        2,
        [] {
          int x;
          group().recv(&x, 4, 1 - group().rank());
        },
        kShort);
  });
  EXPECT_CONTAINS(error, "waits for others that wait for it");
}

TEST(Failure, a_thread_that_sleeps_hangs_one_that_computes_does_not) {
  std::string error = error_of([] {
    run_ranks(
        2,
        [] {
          if (group().rank() == 1) std::this_thread::sleep_for(2s);
          group().barrier();
        },
        kShort);
  });
  EXPECT_CONTAINS(error, "rank 1");
  EXPECT_CONTAINS(error, "hangs");
  run_ranks(
      2,
      [] {
        auto until = std::chrono::steady_clock::now() + 1500ms;
        while (group().rank() == 1 && std::chrono::steady_clock::now() < until) {
        }
        group().barrier();
      },
      kShort);
}

// As one does whose loops are being compiled.
TEST(Failure, a_rank_that_waits_for_a_program_that_computes_does_not_hang) {
  for (bool computes : {true, false}) {
    std::string error = error_of([&] {
      run_ranks(2,
                [&] {
                  const char* command = computes ? "timeout 4 sh -c 'while :; do :; done'" : "sleep 4";
                  if (group().rank() == 1) std::ignore = std::system(command);
                  group().barrier();
                },
                {.timeout = 60s, .hang = 1500ms});
    });
    if (computes)
      EXPECT_EQ(error, "");
    else
      EXPECT_CONTAINS(error, "hangs");
  }
}

TEST(Failure, a_message_of_another_size_is_told) {
  std::string error = error_of([] {
    run_ranks(2, [] {
      int64_t x = 0;
      if (group().rank() == 0)
        group().send(&x, 8, 1);
      else
        group().recv(&x, 4, 0);
    });
  });
  EXPECT_CONTAINS(error, "4 bytes were expected from rank 0");
}

TEST(Failure, a_killed_process_ends_all_with_its_last_operation) {
  auto start = std::chrono::steady_clock::now();
  auto ended = run_processes(3, [](Communicator& c) {
    std::vector<float> x(100);
    c.all_reduce(x.data(), 100, DType::f32);
    if (c.rank() == 2) raise(SIGKILL);
    if (c.rank() == 1) std::this_thread::sleep_for(50s);  // does not look
    c.barrier();
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_EQ(ended[0].status >> 8, 1);
  EXPECT_CONTAINS(ended[0].error, "rank 2 (host ");
  EXPECT_CONTAINS(ended[0].error, "all_reduce of 100 float32 in 'world'");
  EXPECT_EQ(ended[1].status >> 8, 70);
  EXPECT_CONTAINS(ended[1].error, "rank 2");
}

TEST(Failure, a_stopped_process_is_killed_and_ends_all) {
  auto start = std::chrono::steady_clock::now();
  auto ended = run_processes(
      2,
      [](Communicator& c) {
        if (c.rank() == 1) raise(SIGSTOP);
        try {
          c.barrier();
        } catch (const CommError& e) {
          fprintf(stderr, "%s\n", e.what());
          std::this_thread::sleep_for(30s);  // a program that does not end by itself
        }
      },
      kShort);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_CONTAINS(ended[0].error, "rank 1");
  EXPECT_CONTAINS(ended[0].error, "hangs");
  EXPECT_EQ(ended[1].status & 0x7f, SIGKILL);
}

TEST(Failure, a_hanging_process_ends_though_the_others_are_gone) {
  for (bool stopped : {true, false}) {
    auto start = std::chrono::steady_clock::now();
    auto ended = run_processes(
        2,
        [&](Communicator& c) {
          if (c.rank() == 1 && stopped) raise(SIGSTOP);
          if (c.rank() == 1) std::this_thread::sleep_for(30s);
          c.barrier();  // throws, which ends this process
        },
        kShort);
    EXPECT_LT(std::chrono::steady_clock::now() - start, 3s) << (stopped ? "stopped" : "asleep");
    EXPECT_CONTAINS(ended[0].error, "rank 1");
    EXPECT_CONTAINS(ended[0].error, "hangs");
    EXPECT_EQ(stopped ? ended[1].status & 0x7f : ended[1].status >> 8, stopped ? SIGKILL : 70);
  }
}

TEST(Failure, a_rank_that_does_not_come_is_named) {
  SharedMemoryOptions o{.rank = 0, .size = 3, .key = "alone-" + std::to_string(getpid()), .join_timeout = 150ms};
  EXPECT_CONTAINS(error_of([&] { join_shared_memory(o); }), "2 of 3 ranks did not come");
  o.rank = 2;
  EXPECT_CONTAINS(error_of([&] { join_shared_memory(o); }), "found no rank 0");
}

}  // namespace
}  // namespace sorus::comm
