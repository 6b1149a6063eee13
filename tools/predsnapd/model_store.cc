// SPDX-License-Identifier: GPL-2.0-or-later
#include "model_store.h"

#include <fcntl.h>
#include <glib.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "block/engine/checksum.h"
#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

struct ModelHeader {
    char magic[8];
    uint32_t format;
    uint32_t reserved;
    uint64_t features;  // hash of their names: a model of others is of no use
    uint64_t length;    // of the model, which follows
    uint64_t checksum;  // and what follows
};
static_assert(sizeof(ModelHeader) == 40);
constexpr char kMagic[8] = {'P', 'D', 'S', 'm', 'o', 'd', 'e', 'l'};
constexpr uint32_t kFormat = 2;  // 1 was XGBoost's own

uint64_t features_hash() {
    uint64_t hash = 0;
    for (const std::string_view name : feature_names()) {
        hash = xxh3(name.data(), name.size(), hash);
    }
    return hash;
}

uint64_t checksum_of(const ModelHeader& header, const char* model) {
    ModelHeader copy = header;
    copy.checksum = 0;
    return xxh3(model, header.length, xxh3(&copy, sizeof(copy), 0));
}

Error failed_file(const std::string& path) {
    const int code = errno;
    return Error{code, path + ": " + std::strerror(code)};
}

Result<void> write_whole(const std::string& path, const std::string& bytes) {
    const std::string next = path + ".next";
    const int fd = ::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return failed_file(next);
    }
    size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t written = ::write(fd, bytes.data() + done, bytes.size() - done);
        if (written < 0 && errno != EINTR) {
            break;
        }
        done += written > 0 ? static_cast<size_t>(written) : 0;
    }
    const bool good = done == bytes.size() && ::fsync(fd) == 0;
    if (!good) {
        Error error = failed_file(next);
        ::close(fd);
        return error;
    }
    ::close(fd);
    if (::rename(next.c_str(), path.c_str()) != 0) {
        return failed_file(path);
    }
    return {};
}

// The model within the bytes of a file, or why there is none.
Result<std::string_view> unwrap(std::string_view bytes) {
    ModelHeader header;
    if (bytes.size() < sizeof(header)) {
        return Error{EINVAL, "is cut off"};
    }
    std::memcpy(&header, bytes.data(), sizeof(header));
    const std::string_view model = bytes.substr(sizeof(header));
    if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.length != model.size() ||
        header.checksum != checksum_of(header, model.data())) {
        return Error{EINVAL, "is damaged"};
    }
    if (header.format != kFormat || header.features != features_hash()) {
        return Error{ENOTSUP, "is of another version of predsnapd"};
    }
    return model;
}

class Statement {
  public:
    Statement(sqlite3* database, const char* sql) { sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr); }
    ~Statement() { sqlite3_finalize(statement_); }
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;
    void bind(int at, const std::string& value) {
        sqlite3_bind_text(statement_, at, value.c_str(), -1, SQLITE_TRANSIENT);
    }
    void bind_bytes(int at, const std::string& value) {
        sqlite3_bind_blob(statement_, at, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
    }
    void bind(int at, int64_t value) { sqlite3_bind_int64(statement_, at, value); }
    void bind(int at, double value) { sqlite3_bind_double(statement_, at, value); }
    int step() { return statement_ == nullptr ? SQLITE_ERROR : sqlite3_step(statement_); }
    sqlite3_stmt* get() { return statement_; }

  private:
    sqlite3_stmt* statement_ = nullptr;
};

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS model (disk TEXT, target TEXT, version INTEGER, trained_us INTEGER, standing REAL,"
    " best_other REAL, serves INTEGER, PRIMARY KEY (disk, target));"
    "CREATE TABLE IF NOT EXISTS profile (disk TEXT PRIMARY KEY, statistics BLOB)";

}  // namespace

std::string name_of(const Target& target) {
    return text("%s-%lld", target.op == Op::kWrite ? "write" : "read", static_cast<long long>(target.horizon_us / kSecond));
}

void ModelStore::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

Result<ModelStore> ModelStore::open(const std::string& folder) {
    if (g_mkdir_with_parents(folder.c_str(), 0700) != 0) {
        return failed_file(folder);
    }
    sqlite3* database = nullptr;
    const std::string path = folder + "/predsnapd.sqlite";
    const int status = sqlite3_open(path.c_str(), &database);
    ModelStore store(folder, database);
    if (status != SQLITE_OK) {
        return Error{EIO, path + ": " + sqlite3_errstr(status)};
    }
    sqlite3_busy_timeout(database, 2000);
    TRY(store.run(kSchema));
    return store;
}

Error ModelStore::failed(const char* what) const {
    return Error{EIO, text("%s/predsnapd.sqlite: %s: %s", folder_.c_str(), what, sqlite3_errmsg(database_.get()))};
}

Result<void> ModelStore::run(const char* sql) const {
    return sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK ? Result<void>()
                                                                                      : Result<void>(failed("cannot be used"));
}

std::string ModelStore::path_of(const std::string& disk, const Target& target) const {
    char* name = g_uri_escape_string(disk.c_str(), nullptr, FALSE);
    const std::string path = folder_ + "/" + name + "." + name_of(target) + ".model";
    g_free(name);
    return path;
}

Result<ModelFacts> ModelStore::facts_of(const std::string& disk, const Target& target) const {
    Statement select(database_.get(),
                     "SELECT version, trained_us, standing, best_other, serves FROM model WHERE disk = ? AND target = ?");
    select.bind(1, disk);
    select.bind(2, name_of(target));
    ModelFacts facts;
    const int status = select.step();
    if (status == SQLITE_ROW) {
        facts.version = static_cast<uint64_t>(sqlite3_column_int64(select.get(), 0));
        facts.trained_us = sqlite3_column_int64(select.get(), 1);
        facts.standing = sqlite3_column_double(select.get(), 2);
        facts.best_other = sqlite3_column_double(select.get(), 3);
        facts.serves = sqlite3_column_int(select.get(), 4) != 0;
    } else if (status != SQLITE_DONE) {
        return failed("cannot be read");
    }
    return facts;
}

Result<void> ModelStore::save(const std::string& disk, const Target& target, const Trees& trees, ModelFacts facts) {
    const std::string model = trees.bytes();
    ModelHeader header{};
    std::memcpy(header.magic, kMagic, sizeof(kMagic));
    header.format = kFormat;
    header.features = features_hash();
    header.length = model.size();
    header.checksum = checksum_of(header, model.data());
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    TRY(write_whole(path_of(disk, target), bytes + model));

    TRY_ASSIGN(const ModelFacts before, facts_of(disk, target));
    Statement insert(database_.get(), "INSERT OR REPLACE INTO model VALUES (?, ?, ?, ?, ?, ?, ?)");
    insert.bind(1, disk);
    insert.bind(2, name_of(target));
    insert.bind(3, static_cast<int64_t>(before.version + 1));
    insert.bind(4, facts.trained_us);
    insert.bind(5, facts.standing);
    insert.bind(6, facts.best_other);
    insert.bind(7, int64_t{facts.serves});
    return insert.step() == SQLITE_DONE ? Result<void>() : Result<void>(failed("cannot be written"));
}

Result<void> ModelStore::save_profile(const std::string& disk, const Profile& profile) {
    Statement insert(database_.get(), "INSERT OR REPLACE INTO profile VALUES (?, ?)");
    insert.bind(1, disk);
    insert.bind_bytes(2, profile.bytes());
    return insert.step() == SQLITE_DONE ? Result<void>() : Result<void>(failed("cannot be written"));
}

Result<std::string> ModelStore::most_similar(const std::string& disk, const Profile& profile) const {
    Statement select(database_.get(), "SELECT disk, statistics FROM profile WHERE disk <> ? AND disk IN"
                                      " (SELECT disk FROM model WHERE serves <> 0) ORDER BY disk");
    select.bind(1, disk);
    std::string nearest;
    double least = 2;
    int status = select.step();
    for (; status == SQLITE_ROW; status = sqlite3_step(select.get())) {
        const auto* bytes = static_cast<const char*>(sqlite3_column_blob(select.get(), 1));
        const auto length = static_cast<size_t>(sqlite3_column_bytes(select.get(), 1));
        const Result<Profile> other = Profile::parse({bytes, length});
        if (!other.ok()) {
            continue;  // of another version of this program
        }
        if (const double apart = distance(profile, other.value()); apart < least) {
            least = apart;
            nearest = reinterpret_cast<const char*>(sqlite3_column_text(select.get(), 0));
        }
    }
    return status == SQLITE_DONE ? Result<std::string>(nearest) : Result<std::string>(failed("cannot be read"));
}

Result<std::optional<ModelStore::Loaded>> ModelStore::load(const std::string& disk, const Target& target,
                                                           std::string& message) {
    const std::string path = path_of(disk, target);
    char* content = nullptr;
    gsize length = 0;
    if (g_file_get_contents(path.c_str(), &content, &length, nullptr) == FALSE) {
        return std::optional<Loaded>();
    }
    const std::string bytes(content, length);
    g_free(content);
    Result<std::string_view> bare = unwrap(bytes);
    Result<Trees> model = bare.ok() ? Trees::parse(bare.value()) : Result<Trees>(bare.error());
    if (model.ok() && model.value().columns() != feature_names().size()) {
        model = Error{EINVAL, "asks for columns that there are not"};
    }
    if (!model.ok()) {
        const std::string aside = path + ".corrupt";
        message = path + " " + model.error().message + "; set aside as " + aside;
        if (::rename(path.c_str(), aside.c_str()) != 0) {
            return failed_file(path);
        }
        return std::optional<Loaded>();
    }
    TRY_ASSIGN(const ModelFacts facts, facts_of(disk, target));
    return std::optional<Loaded>(Loaded{model.take(), facts});
}

}  // namespace predsnap::predict
