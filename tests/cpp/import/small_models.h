// Small model files made here, for tests and as seeds of fuzzing: .onnx, .ms and .tflite.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "import/flat_writer.h"

namespace sorus::test {

inline std::string varint(uint64_t v) {
  std::string s;
  for (; v > 127; v >>= 7) s += static_cast<char>(v | 128);
  return s + static_cast<char>(v);
}
inline std::string number(int field, uint64_t v) { return varint(static_cast<uint64_t>(field) << 3) + varint(v); }
inline std::string bytes(int field, const std::string& s) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(s.size()) + s;
}

inline std::string floats(const std::string& name, const std::vector<int64_t>& dims, const std::vector<float>& v) {
  std::string s;
  for (int64_t d : dims) s += number(1, static_cast<uint64_t>(d));
  s += number(2, 1) + bytes(8, name);
  return s + bytes(9, {reinterpret_cast<const char*>(v.data()), v.size() * 4});
}
inline std::string port(const std::string& name, const std::vector<int64_t>& dims) {
  std::string shape;
  for (int64_t d : dims) shape += bytes(1, number(1, static_cast<uint64_t>(d)));
  return bytes(1, name) + bytes(2, bytes(1, number(1, 1) + bytes(2, shape)));
}
inline std::string node(const std::string& op, const std::vector<std::string>& in, const std::string& out) {
  std::string s;
  for (const auto& i : in) s += bytes(1, i);
  return s + bytes(2, out) + bytes(4, op);
}
inline std::string onnx_file(const std::string& graph, int64_t opset = 17) {
  return number(1, 8) + bytes(7, graph) + bytes(8, number(2, static_cast<uint64_t>(opset)));
}
// relu(x w + b)
inline std::string small_onnx() {
  return onnx_file(bytes(1, node("MatMul", {"x", "w"}, "p")) + bytes(1, node("Add", {"p", "b"}, "s")) +
                   bytes(1, node("Relu", {"s"}, "y")) + bytes(5, floats("w", {2, 3}, {1, 2, 3, 4, 5, 6})) +
                   bytes(5, floats("b", {3}, {-20, 0, 1})) + bytes(11, port("x", {1, 2})) +
                   bytes(12, port("y", {1, 3})));
}

// A 3x3 convolution with padding 1 and RELU over a 4x4 image; channels first or last.
inline std::string small_ms(bool last) {
  std::vector<float> w(18);
  for (size_t i = 0; i < 18; ++i) w[i] = static_cast<float>(i % 7) - 3;
  auto tensor = [](const std::string& name, const std::vector<int32_t>& dims, const std::string& data = "") {
    std::map<int, Flat> f{{1, Flat::number<int32_t>(43)}, {2, Flat::numbers(dims)}, {9, Flat::text(name)}};
    if (!data.empty()) f[6] = Flat::text(data);
    return Flat::table(f);
  };
  Flat conv = Flat::table({{0, Flat::number<int32_t>(last ? 1 : 0)},
                           {1, Flat::numbers<int64_t>({3, 3})},
                           {2, Flat::numbers<int64_t>({1, 1})},
                           {3, Flat::numbers<int64_t>({1, 1})},
                           {4, Flat::number<int8_t>(0)},
                           {5, Flat::numbers<int64_t>({1, 1, 1, 1})},
                           {7, Flat::number<int64_t>(1)},
                           {10, Flat::number<int8_t>(1)}});
  Flat op = Flat::table({{2, Flat::table({{0, Flat::number<uint8_t>(35)}, {1, conv}})},
                         {3, Flat::numbers<uint32_t>({0, 1})},
                         {4, Flat::numbers<uint32_t>({2})}});
  std::string data(reinterpret_cast<const char*>(w.data()), 72);
  std::vector<Flat> tensors =
      last ? std::vector<Flat>{tensor("x", {1, 4, 4, 1}), tensor("w", {2, 3, 3, 1}, data), tensor("y", {1, 4, 4, 2})}
           : std::vector<Flat>{tensor("x", {1, 1, 4, 4}), tensor("w", {2, 1, 3, 3}, data), tensor("y", {1, 2, 4, 4})};
  return flat_file(Flat::table({{1, Flat::text("made in a test")},
                                {3, Flat::numbers<uint32_t>({0})},
                                {4, Flat::numbers<uint32_t>({2})},
                                {6, Flat::tables({op})},
                                {7, Flat::tables(tensors)}}),
                   "MSL2");
}

struct T {
  std::vector<int32_t> shape;
  int type;               // 0: f32, 9: int8, 2: int32
  std::string data = {};  // of a constant
  std::vector<float> scale = {};
  std::vector<int64_t> zero = {};
  int axis = 0;
};
struct O {
  int code;
  std::vector<int32_t> in, out;
  std::map<int, Flat> options = {};
};

template <class V>
std::string raw(const std::vector<V>& v) {
  return {reinterpret_cast<const char*>(v.data()), v.size() * sizeof(V)};
}

inline std::string model_of(const std::vector<T>& tensors, const std::vector<O>& ops, std::vector<int32_t> in,
                            std::vector<int32_t> out, const std::string& custom = "") {
  std::vector<Flat> buffers{Flat::table({})}, ts, os, codes;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const T& t = tensors[i];
    std::map<int, Flat> f{{0, Flat::numbers(t.shape)},
                          {1, Flat::number(static_cast<uint8_t>(t.type))},
                          {3, Flat::text("t" + std::to_string(i))}};
    if (!t.data.empty()) {
      f[2] = Flat::number(static_cast<uint32_t>(buffers.size()));
      buffers.push_back(Flat::table({{0, Flat::text(t.data)}}));
    }
    if (!t.scale.empty())
      f[4] =
          Flat::table({{2, Flat::numbers(t.scale)}, {3, Flat::numbers(t.zero)}, {6, Flat::number<int32_t>(t.axis)}});
    ts.push_back(Flat::table(f));
  }
  for (const O& o : ops) {
    os.push_back(Flat::table({{0, Flat::number(static_cast<uint32_t>(codes.size()))},
                              {1, Flat::numbers(o.in)},
                              {2, Flat::numbers(o.out)},
                              {3, Flat::number<uint8_t>(1)},
                              {4, Flat::table(o.options)}}));
    std::map<int, Flat> code{{0, Flat::number(static_cast<int8_t>(std::min(o.code, 127)))},
                             {3, Flat::number<int32_t>(o.code)}};
    if (o.code == 32) code[1] = Flat::text(custom);
    codes.push_back(Flat::table(code));
  }
  Flat graph =
      Flat::table({{0, Flat::tables(ts)}, {1, Flat::numbers(in)}, {2, Flat::numbers(out)}, {3, Flat::tables(os)}});
  return flat_file(Flat::table({{0, Flat::number<uint32_t>(3)},
                                {1, Flat::tables(codes)},
                                {2, Flat::tables({graph})},
                                {4, Flat::tables(buffers)}}),
                   "TFL3");
}

// One convolution, 3x3 over a 4x4 image of one channel, stride 2, then RELU: as floats, or quantised with an axis
// that does not exist.
inline std::string convolution(bool quantized) {
  std::map<int, Flat> options{{0, Flat::number<int8_t>(0)},
                              {1, Flat::number<int32_t>(2)},
                              {2, Flat::number<int32_t>(2)},
                              {3, Flat::number<int8_t>(1)}};
  if (!quantized) {
    std::vector<float> w(18), b{0.5f, -0.25f};
    for (size_t i = 0; i < 18; ++i) w[i] = 0.1f * static_cast<float>(i) - 0.8f;
    return model_of({{{1, 4, 4, 1}, 0}, {{2, 3, 3, 1}, 0, raw(w)}, {{2}, 0, raw(b)}, {{1, 2, 2, 2}, 0}},
                    {{3, {0, 1, 2}, {3}, options}}, {0}, {3});
  }
  std::vector<int8_t> w(18);
  for (size_t i = 0; i < 18; ++i) w[i] = static_cast<int8_t>(7 * i - 60);
  return model_of({{{1, 4, 4, 1}, 9, "", {0.5f}, {-3}},
                   {{2, 3, 3, 1}, 9, raw(w), {0.01f, 0.02f}, {0, 0}, 9},
                   {{2}, 2, raw(std::vector<int32_t>{100, -50}), {0.005f, 0.01f}, {0, 0}, 0},
                   {{1, 2, 2, 2}, 9, "", {0.25f}, {-128}}},
                  {{3, {0, 1, 2}, {3}, options}}, {0}, {3});
}

}  // namespace sorus::test
