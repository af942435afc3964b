// Every collective, for ranks that are threads and ranks that are processes, small, large, in place and in shared
// memory, against what one process computes.
#include <sys/mman.h>

#include <cstring>
#include <numeric>
#include <thread>

#include "parallel/ranks.h"
#include "sorus/parallel/comm/reduce.h"

namespace sorus::comm {
namespace {

using test::at_ranks;
using test::Kind;
using test::require;

struct Case {
  Kind kind;
  int ranks;
};
class Collectives : public testing::TestWithParam<Case> {};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const char* kinds[] = {"threads", "processes", "levels"};
  return kinds[static_cast<int>(info.param.kind)] + std::to_string(info.param.ranks);
}
INSTANTIATE_TEST_SUITE_P(, Collectives,
                         testing::Values(Case{Kind::threads, 1}, Case{Kind::threads, 2}, Case{Kind::threads, 5},
                                         Case{Kind::threads, 16}, Case{Kind::processes, 2}, Case{Kind::processes, 3},
                                         Case{Kind::processes, 4}, Case{Kind::levels, 3}, Case{Kind::levels, 4}),
                         case_name);

// Small (beside the counters), odd, and larger than several pieces (which threads do not have).
std::vector<int64_t> counts(const Communicator& c) {
  return {0, 1, 7, 1024, 5000, c.backend() == "threads" ? 20'003 : 400'003};
}

// Multiples of a quarter: sums are exact in any order, since two levels have another than one.
float value(int rank, int64_t i) { return static_cast<float>((i * 7 + rank * 13) % 1000) * 0.25f - 100.0f; }
std::vector<float> values(int rank, int64_t count) {
  std::vector<float> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) out[static_cast<size_t>(i)] = value(rank, i);
  return out;
}
std::vector<float> reduced(int ranks, int64_t count, ReduceOp op) {
  std::vector<std::vector<float>> all;
  std::vector<const void*> in;
  for (int r = 0; r < ranks; ++r) all.push_back(values(r, count));
  for (auto& a : all) in.push_back(a.data());
  std::vector<float> out(static_cast<size_t>(count));
  reduce_arrays(in, out.data(), count, DType::f32, op);
  return out;
}
bool same(const void* a, const void* b, int64_t floats) {
  return floats == 0 || std::memcmp(a, b, static_cast<size_t>(floats) * 4) == 0;
}

TEST(Communicator, sums_are_taken_in_the_order_of_ranks_to_the_bit) {
  for (Kind kind : {Kind::threads, Kind::processes})
    at_ranks(kind, 3, [](Communicator& c) {
      for (int64_t n : {int64_t{10}, int64_t{9000}}) {
        std::vector<std::vector<float>> all;
        std::vector<const void*> in;
        for (int r = 0; r < 3; ++r) {
          all.push_back(values(r, n));
          for (float& v : all.back()) v *= 0.37f;
        }
        for (auto& a : all) in.push_back(a.data());
        std::vector<float> wanted(static_cast<size_t>(n)), out = all[static_cast<size_t>(c.rank())];
        reduce_arrays(in, wanted.data(), n, DType::f32, ReduceOp::sum);
        c.all_reduce(out.data(), n, DType::f32);
        require(same(out.data(), wanted.data(), n), "order");
      }
    });
}

TEST_P(Collectives, all_reduce_is_the_sum_at_every_rank) {
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    for (ReduceOp op : {ReduceOp::sum, ReduceOp::avg, ReduceOp::max})
      for (int64_t n : counts(c)) {
        auto mine = values(c.rank(), n), out = mine, wanted = reduced(c.size(), n, op);
        c.all_reduce(out.data(), n, DType::f32, op);
        require(same(out.data(), wanted.data(), n), fmt::format("in place, {} of {}", name(op), n));
        std::fill(out.begin(), out.end(), 0.0f);
        c.all_reduce(mine.data(), out.data(), n, DType::f32, op);
        require(same(out.data(), wanted.data(), n), fmt::format("apart, {} of {}", name(op), n));
      }
  });
}

TEST_P(Collectives, buffers_in_shared_memory_give_the_same) {
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    for (int64_t n : {int64_t{100}, int64_t{50'001}}) {
      Ref<Storage> memory = c.allocate_shared(static_cast<size_t>(n) * 4);
      auto* data = reinterpret_cast<float*>(memory->data());
      auto mine = values(c.rank(), n), wanted = reduced(c.size(), n, ReduceOp::sum);
      for (int again = 0; again < 2; ++again) {
        std::memcpy(data, mine.data(), mine.size() * 4);
        c.all_reduce(data, n, DType::f32);
        require(same(data, wanted.data(), n), "all_reduce");
      }
      // One of them in private memory: all must agree to copy.
      std::memcpy(data, mine.data(), mine.size() * 4);
      c.all_reduce(c.rank() == 0 ? mine.data() : data, n, DType::f32);
      require(same(c.rank() == 0 ? mine.data() : data, wanted.data(), n), "mixed");
    }
  });
}

TEST_P(Collectives, reduce_scatter_gives_each_rank_its_part) {
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    for (int64_t n : counts(c)) {
      int64_t all = n * c.size();
      auto mine = values(c.rank(), all), wanted = reduced(c.size(), all, ReduceOp::sum);
      std::vector<float> out(static_cast<size_t>(n));
      c.reduce_scatter(mine.data(), out.data(), n, DType::f32);
      require(same(out.data(), wanted.data() + n * c.rank(), n), fmt::format("apart, {}", n));
      c.reduce_scatter(mine.data(), mine.data() + n * c.rank(), n, DType::f32);
      require(same(mine.data() + n * c.rank(), wanted.data() + n * c.rank(), n), fmt::format("in place, {}", n));
    }
  });
}

TEST_P(Collectives, all_gather_with_equal_and_other_sizes) {
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    for (int64_t n : counts(c)) {
      std::vector<int64_t> bytes;
      std::vector<float> wanted, wanted_v;
      for (int r = 0; r < c.size(); ++r) {
        auto all = values(r, n);
        wanted.insert(wanted.end(), all.begin(), all.end());
        int64_t some = n * (r % 3) / 2;
        all = values(r, some);
        wanted_v.insert(wanted_v.end(), all.begin(), all.end());
        bytes.push_back(some * 4);
      }
      auto mine = values(c.rank(), n);
      std::vector<float> out(wanted.size());
      c.all_gather(mine.data(), out.data(), n * 4);
      require(out == wanted, fmt::format("equal, {}", n));
      std::fill(out.begin(), out.end(), 0.0f);
      std::copy(mine.begin(), mine.end(), out.begin() + n * c.rank());
      c.all_gather(out.data() + n * c.rank(), out.data(), n * 4);
      require(out == wanted, fmt::format("in place, {}", n));
      mine = values(c.rank(), bytes[static_cast<size_t>(c.rank())] / 4);
      out.assign(wanted_v.size(), 0.0f);
      c.all_gather_v(mine.data(), out.data(), bytes);
      require(out == wanted_v, fmt::format("other sizes, {}", n));
    }
  });
}

TEST_P(Collectives, all_to_all_broadcast_scatter_gather_reduce) {
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    int n = c.size(), me = c.rank();
    for (int64_t each : {int64_t{3}, int64_t{30'000}}) {
      // Rank r sends r + s + 1 numbers (times `each`) to rank s.
      std::vector<int64_t> send, recv;
      std::vector<float> in, wanted;
      for (int s = 0; s < n; ++s) {
        int64_t out_count = each * (me + s + 1) / n, in_count = out_count;
        auto part = values(me * 100 + s, out_count);
        in.insert(in.end(), part.begin(), part.end());
        part = values(s * 100 + me, in_count);
        wanted.insert(wanted.end(), part.begin(), part.end());
        send.push_back(out_count * 4);
        recv.push_back(in_count * 4);
      }
      std::vector<float> out(wanted.size());
      c.all_to_all_v(in.data(), send, out.data(), recv);
      require(out == wanted, "all_to_all");

      for (int root : {0, n - 1}) {
        auto data = values(me, each);
        c.broadcast(data.data(), each * 4, root);
        require(data == values(root, each), "broadcast");
        std::vector<float> all;
        for (int r = 0; r < n; ++r) {
          auto part = values(r + 50, each);
          all.insert(all.end(), part.begin(), part.end());
        }
        std::vector<float> one(static_cast<size_t>(each));
        c.scatter(me == root ? all.data() : nullptr, one.data(), each * 4, root);
        require(one == values(me + 50, each), "scatter");
        std::vector<float> back(me == root ? all.size() : 0);
        c.gather(one.data(), back.data(), each * 4, root);
        require(me != root || back == all, "gather");
        auto sum = values(me, each);
        c.reduce(sum.data(), sum.data(), each, DType::f32, ReduceOp::sum, root);
        require(sum == (me == root ? reduced(n, each, ReduceOp::sum) : values(me, each)), "reduce");
      }
      c.barrier();
    }
  });
}

TEST_P(Collectives, messages_keep_their_order_by_tag_and_may_cross) {
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    int n = c.size(), to = (c.rank() + 1) % n, from = (c.rank() + n - 1) % n;
    // Large ones in a ring, all sent before any is received.
    int64_t count = 500'000;
    auto mine = values(c.rank(), count);
    std::vector<float> got(mine.size());
    auto sending = c.isend(mine.data(), count * 4, to);
    auto receiving = c.irecv(got.data(), count * 4, from);
    receiving->wait();
    sending->wait();
    require(got == values(from, count), "ring");
    // Small ones, asked for in another order than sent; a collective in between.
    int a = 1, b = 2, b2 = 3, x = 0, y = 0, z = 0;
    c.send(&a, 4, to, 5);
    c.send(&b, 4, to, 6);
    c.send(&b2, 4, to, 6);
    c.recv(&y, 4, from, 6);
    c.barrier();
    c.recv(&z, 4, from, 6);
    c.recv(&x, 4, from, 5);
    require(x == 1 && y == 2 && z == 3, "tags");
  });
}

// The receiver gets all of a message while the sender does something else. By the order of events: the sender
// computes until the receiver has said that it is there.
TEST(Communicator, large_messages_leave_while_the_sender_computes) {
  struct Shared {
    std::atomic<int> received{0};
  };
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  for (Kind kind : {Kind::threads, Kind::processes, Kind::levels}) {
    auto* shared = new (memory) Shared;
    at_ranks(kind, 2, [shared](Communicator& c) {
      constexpr int64_t kCount = 2 << 20;  // 8 MiB
      constexpr int kMessages = 4;
      if (c.rank() == 0) {
        std::vector<std::vector<float>> mine;
        std::vector<std::shared_ptr<Work>> sending;
        for (int m = 0; m < kMessages; ++m) {
          mine.push_back(values(m, kCount));
          sending.push_back(c.isend(mine.back().data(), kCount * 4, 1, m % 2));
          auto start = std::chrono::steady_clock::now();
          while (shared->received.load() <= m && std::chrono::steady_clock::now() - start < std::chrono::seconds(20))
            std::this_thread::yield();
          require(shared->received.load() > m, "the message waits for its sender");
        }
        for (auto& w : sending) w->wait();
      } else {
        std::vector<float> got(kCount);
        for (int m = 0; m < kMessages; ++m) {
          c.recv(got.data(), kCount * 4, 0, m % 2);
          require(got == values(m, kCount), "what was sent");
          ++shared->received;
        }
      }
    });
  }
  munmap(memory, sizeof(Shared));
}

TEST_P(Collectives, large_messages_may_wait_and_come_in_another_order) {
  if (GetParam().ranks == 1) return;
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    int n = c.size(), to = (c.rank() + 1) % n, from = (c.rank() + n - 1) % n;
    constexpr int64_t kCount = 700'000;
    constexpr int kMessages = 6;
    std::vector<std::vector<float>> mine;
    std::vector<std::shared_ptr<Work>> sending;
    for (int m = 0; m < kMessages; ++m) mine.push_back(values(c.rank() + m, kCount));
    for (int m = 0; m < kMessages; ++m)
      sending.push_back(c.isend(mine[static_cast<size_t>(m)].data(), kCount * 4, to, m));
    c.barrier();
    std::vector<float> got(kCount);
    for (int m = kMessages; m-- > 0;) {
      c.recv(got.data(), kCount * 4, from, m);
      require(got == values(from + m, kCount), "message");
    }
    for (auto& w : sending) w->wait();
  });
}

TEST_P(Collectives, groups_of_some_ranks_and_work_beside_the_caller) {
  at_ranks(GetParam().kind, GetParam().ranks, [](Communicator& c) {
    std::vector<int> even;
    for (int r = 0; r < c.size(); r += 2) even.push_back(r);
    auto some = c.split(even, "even");
    require((some != nullptr) == (c.rank() % 2 == 0), "membership");
    if (some) {
      int64_t sum = c.rank(), wanted = 0;
      for (int r : even) wanted += r;
      some->all_reduce(&sum, 1, DType::i64);
      require(sum == wanted && some->members() == even, "sum of a group");
    }
    std::vector<std::vector<float>> buckets;
    for (int i = 0; i < 4; ++i) buckets.push_back(values(c.rank() + i, 20'000));
    std::vector<std::shared_ptr<Work>> works;
    for (auto& b : buckets)
      works.push_back(c.start([&b](Communicator& own) { own.all_reduce(b.data(), 20'000, DType::f32); }));
    int64_t one = 1;
    c.all_reduce(&one, 1, DType::i64);  // comes after what was started
    for (auto& w : works) require(w->is_completed(), "order");
    require(one == c.size(), "sum");
    require(buckets[0] == reduced(c.size(), 20'000, ReduceOp::sum), "bucket");
  });
}

TEST(Reduce, types_and_operations) {
  auto check = [](DType t, auto a, auto b, ReduceOp op, auto wanted) {
    const void* in[] = {&a, &b};
    decltype(a) out{};
    reduce_arrays(in, &out, 1, t, op);
    return out == wanted;
  };
  EXPECT_TRUE(check(DType::i32, int32_t{6}, int32_t{3}, ReduceOp::bxor, int32_t{5}));
  EXPECT_TRUE(check(DType::i64, int64_t{6}, int64_t{3}, ReduceOp::product, int64_t{18}));
  EXPECT_TRUE(check(DType::u8, uint8_t{6}, uint8_t{3}, ReduceOp::band, uint8_t{2}));
  EXPECT_TRUE(check(DType::boolean, uint8_t{1}, uint8_t{1}, ReduceOp::sum, uint8_t{1}));
  EXPECT_TRUE(check(DType::f64, 1.5, -2.5, ReduceOp::min, -2.5));
  EXPECT_TRUE(check(DType::c64, std::complex<float>(1, 2), std::complex<float>(3, -1), ReduceOp::product,
                    std::complex<float>(5, 5)));
  float nan = std::numeric_limits<float>::quiet_NaN(), one = 1, out = 0;
  for (ReduceOp op : {ReduceOp::max, ReduceOp::min})
    for (auto in : {std::array<const void*, 2>{&nan, &one}, std::array<const void*, 2>{&one, &nan}}) {
      reduce_arrays(in, &out, 1, DType::f32, op);
      EXPECT_TRUE(std::isnan(out));
    }
}

TEST(Reduce, halves_are_summed_in_float_and_rounded_once) {
  for (DType t : {DType::bf16, DType::f16}) {
    // 256 + 1 + 1 + ...: each 1 alone would be lost in bf16, 3 of them at 2048 in f16.
    float big = t == DType::bf16 ? 256.0f : 2048.0f;
    std::vector<uint16_t> bits;
    for (int i = 0; i < 5; ++i) {
      float v = i == 0 ? big : 1.0f;
      bits.push_back(t == DType::bf16 ? bfloat16(v).bits : float16(v).bits);
    }
    std::vector<const void*> in;
    for (auto& b : bits) in.push_back(&b);
    uint16_t out = 0;
    reduce_arrays(in, &out, 1, t, ReduceOp::sum);
    bfloat16 as_b;
    float16 as_h;
    as_b.bits = as_h.bits = out;
    EXPECT_EQ(t == DType::bf16 ? static_cast<float>(as_b) : static_cast<float>(as_h), big + 4);
  }
}

TEST(Communicator, wrong_calls_are_named) {
  run_ranks(1, [] {
    float x = 0;
    EXPECT_THROW(group().broadcast(&x, 4, 3), ValueError);
    EXPECT_THROW(group().all_reduce(&x, 1, DType::f32, ReduceOp::bxor), TypeError);
    EXPECT_THROW(group().all_reduce(&x, 1, DType::i32, ReduceOp::avg), TypeError);
    EXPECT_THROW(groups().find("dp"), KeyError);
    EXPECT_THROW(reduce_op_from_name("mean"), ValueError);
  });
  EXPECT_THROW(run_ranks(0, [] {}), ValueError);
}

}  // namespace
}  // namespace sorus::comm
