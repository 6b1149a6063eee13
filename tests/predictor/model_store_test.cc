// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/model_store.h"

#include "tools/predsnapd/booster.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace predsnap::predict::test {
namespace {

const Target kTarget{Op::kWrite, 60 * kSecond};

class ModelStoreTest : public testing::Test {
  protected:
    void SetUp() override { ASSERT_NE(mkdtemp(folder_), nullptr); }
    void TearDown() override { EXPECT_EQ(std::system((std::string("rm -r ") + folder_).c_str()), 0); }

    ModelStore open() {
        auto store = ModelStore::open(folder_);
        EXPECT_TRUE(store.ok()) << store.error().message;
        return store.take();
    }
    static Rows rows() {
        Rows rows{feature_names().size(), {}};
        for (size_t i = 0; i < 200; ++i) {
            rows.values.resize(rows.values.size() + rows.columns, i % 2 == 0 ? 0.f : 1.f);
        }
        return rows;
    }
    static Trees trained() {
        std::vector<float> labels, weights(200, 1.f);
        for (size_t i = 0; i < 200; ++i) {
            labels.push_back(i % 2 == 0 ? 0.f : 1.f);
        }
        auto booster = train_trees(rows(), labels, weights, {.rounds = 5});
        EXPECT_TRUE(booster.ok());
        return booster.take();
    }
    static std::string bytes_of(const std::string& path) {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    char folder_[32] = "/tmp/predsnap-models-XXXXXX";
};

TEST_F(ModelStoreTest, AModelComesBackAsItWas) {
    const Trees booster = trained();
    {
        ModelStore store = open();
        ASSERT_TRUE(store.save("a/b", kTarget, booster, {.trained_us = 5, .standing = 0.5, .serves = true}).ok());
        ASSERT_TRUE(store.save("a/b", kTarget, booster, {.trained_us = 7, .standing = 0.6, .serves = true}).ok());
    }
    ModelStore store = open();
    std::string message;
    auto loaded = store.load("a/b", kTarget, message);
    ASSERT_TRUE(loaded.ok() && loaded.value()) << message;
    EXPECT_EQ(loaded.value()->model.predict(rows()), booster.predict(rows()));
    EXPECT_EQ(loaded.value()->facts.version, 2u);
    EXPECT_EQ(loaded.value()->facts.trained_us, 7);
    EXPECT_TRUE(loaded.value()->facts.serves);
    auto other = store.load("another", kTarget, message);
    EXPECT_TRUE(other.ok() && !other.value());
}

TEST_F(ModelStoreTest, ADamagedModelIsSetAsideWithAMessage) {
    ModelStore store = open();
    const Trees model = trained();
    ASSERT_TRUE(store.save("d", kTarget, model, {}).ok());
    const std::string path = store.path_of("d", kTarget), whole = bytes_of(path);
    for (const size_t at : {size_t{0}, size_t{9}, size_t{30}, whole.size() / 2, whole.size() - 1}) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
        std::ofstream(path, std::ios::binary) << damaged;
        std::string message;
        const auto loaded = store.load("d", kTarget, message);
        ASSERT_TRUE(loaded.ok());
        EXPECT_FALSE(loaded.value()) << "damaged at " << at;
        EXPECT_NE(message.find(".corrupt"), std::string::npos);
        EXPECT_EQ(bytes_of(path + ".corrupt"), damaged);
        EXPECT_NE(::access(path.c_str(), F_OK), 0);
    }
}

TEST_F(ModelStoreTest, ATruncatedModelIsSetAside) {
    ModelStore store = open();
    ASSERT_TRUE(store.save("d", kTarget, trained(), {}).ok());
    const std::string path = store.path_of("d", kTarget), whole = bytes_of(path);
    for (size_t length = 0; length < whole.size(); length += whole.size() / 17 + 1) {
        std::ofstream(path, std::ios::binary) << whole.substr(0, length);
        std::string message;
        const auto loaded = store.load("d", kTarget, message);
        ASSERT_TRUE(loaded.ok());
        EXPECT_FALSE(loaded.value()) << length;
        EXPECT_FALSE(message.empty());
    }
}

}  // namespace
}  // namespace predsnap::predict::test
