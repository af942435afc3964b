// Sharded checkpoints: any placement reads what any other saved; damaged indexes are FileErrors.
#include "io/mutate.h"
#include "parallel/ranks.h"
#include "sorus/base/files.h"
#include "sorus/parallel/checkpoint/sharded.h"

namespace sorus::checkpoint {
namespace {

using test::require;

Tensor numbers(const Shape& shape) {
  Tensor t = Tensor::empty(shape, DType::f32);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(i);
  return t;
}
Tensor box(const Tensor& t, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  return t.with_geometry({{rows, columns}, t.strides(), row * t.strides()[0] + column * t.strides()[1]});
}
bool same(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes()) return false;
  for (int64_t i = 0; i < a.size(0); ++i)
    for (int64_t k = 0; k < a.size(1); ++k)
      if (a.data<float>()[i * a.strides()[0] + k * a.strides()[1]] !=
          b.data<float>()[i * b.strides()[0] + k * b.strides()[1]])
        return false;
  return true;
}

TEST(Sharded, rows_columns_and_replicas_are_read_as_any_box) {
  test::TemporaryFolder folder;
  Tensor whole = numbers({7, 6});
  comm::run_ranks(3, [&] {
    comm::Communicator& c = comm::group();
    int64_t r = c.rank(), first = 3 * r, rows = r == 2 ? 1 : 3;
    std::vector<Piece> pieces{{"rows", box(whole, first, rows, 0, 6), {7, 6}, {first, 0}},
                              {"columns", box(whole, 0, 7, 2 * r, 2), {7, 6}, {0, 2 * r}},
                              {"all", whole, {7, 6}, {0, 0}},
                              {"number", Tensor::scalar(2.5, DType::f64), {}, {}}};
    save(c, folder / "a", pieces, {{"rank", r}});
  });
  Sharded saved = Sharded::open(folder / "a");
  EXPECT_EQ(saved.state()["rank"], 0);
  EXPECT_EQ(saved.entries().at("all").boxes.size(), 1u);  // once
  for (const char* name : {"rows", "columns", "all"})
    for (auto [row, rows, column, columns] :
         {std::array{0, 7, 0, 6}, std::array{2, 3, 1, 4}, std::array{6, 1, 5, 1}}) {
      Tensor into = Tensor::empty({rows, columns}, DType::f32);
      saved.read(name, Shape{row, column}, into);
      EXPECT_TRUE(same(into, box(whole, row, rows, column, columns))) << name;
    }
  Tensor number = Tensor::empty(Shape{}, DType::f32);
  saved.read("number", Shape{}, number);
  EXPECT_EQ(number.item().to_double(), 2.5);
  EXPECT_THROW(saved.read("other", Shape{}, number), KeyError);
  EXPECT_THROW(saved.read("all", Shape{7, 0}, Tensor::empty({1, 6}, DType::f32)), ValueError);
}

TEST(Sharded, pieces_that_do_not_make_a_whole_are_errors_at_all_ranks) {
  test::TemporaryFolder folder;
  for (int64_t start : {1, 4}) {  // they overlap; there is a gap
    std::atomic<int> errors{0};
    comm::run_ranks(2, [&] {
      comm::Communicator& c = comm::group();
      std::vector<Piece> pieces{{"w", numbers({2, 2}), {6, 2}, {c.rank() == 0 ? 0 : start, 0}}};
      try {
        save(c, folder / "a", pieces, {});
      } catch (const ValueError&) {
        ++errors;
      }
    });
    EXPECT_EQ(errors, 2);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Sharded, damaged_indexes_are_file_errors) {
  test::TemporaryFolder folder;
  comm::run_ranks(1, [&] {
    save(comm::group(), folder / "a", {{"w", numbers({4, 3}), {4, 3}, {0, 0}}, {"v", numbers({2}), {2}, {0}}},
         {{"step", 3}});
  });
  std::string index = read_file(folder.path() / "a" / "index.json");
  test::mutate(
      index,
      [&](const std::filesystem::path& mutated) {
        std::filesystem::copy_file(mutated, folder.path() / "a" / "index.json",
                                   std::filesystem::copy_options::overwrite_existing);
        Sharded saved = Sharded::open(folder / "a");
        for (const auto& [name, e] : saved.entries())
          if (numel(e.shape) < 1000) saved.read(name, Shape(e.shape.size(), 0), Tensor::empty(e.shape, DType::f32));
      },
      400);
}

}  // namespace
}  // namespace sorus::checkpoint
