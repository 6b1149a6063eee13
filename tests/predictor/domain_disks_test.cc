// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/domain_disks.h"

#include <gtest/gtest.h>

namespace predsnap::predict {
namespace {

std::string domain(const std::string& metadata, const std::string& arguments = "") {
    return "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>d</name><metadata>"
           "<p:disks xmlns:p='urn:predsnap:libvirt:1'>" + metadata + "</p:disks><other xmlns='urn:other'><disk/></other>"
           "</metadata><devices><disk/></devices><qemu:commandline>" + arguments + "</qemu:commandline></domain>";
}

std::vector<DiskConfig> disks(const std::string& xml) {
    Result<std::vector<DiskConfig>> found = disks_of_domain("d", xml);
    EXPECT_TRUE(found.ok());
    return found.ok() ? found.take() : std::vector<DiskConfig>();
}

TEST(DomainDisks, MetadataNameThemWithTheirMonitors) {
    const auto found = disks(domain("<p:disk target='vda' weight='9'><p:access-log file='/l'/><p:monitor socket='/q'/></p:disk>"
                                    "<p:disk target='vdb' node='n'/>"));
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0], (DiskConfig{.name = "d-vda", .log = "/l", .qmp = "/q", .domain = "d", .node = "predsnap-vda", .weight = 9}));
    EXPECT_EQ(found[1], (DiskConfig{.name = "d-vdb", .log = "", .qmp = "", .domain = "d", .node = "n"}));
}

TEST(DomainDisks, ADaemonsNodeIsNotReachedThroughTheDomain) {
    const auto found = disks(domain("<p:disk target='vda' way='daemon'><p:access-log file='/l'/></p:disk>"
                                    "<p:disk target='vdb' way='daemon'/>"));
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0], (DiskConfig{.name = "d-vda", .log = "/l", .qmp = "", .domain = "", .node = ""}));
}

TEST(DomainDisks, NodesOfTheCommandLineThatMetadataDoNotName) {
    const auto found = disks(domain("<p:disk target='vda' node='known'><p:access-log file='/l'/></p:disk>",
        R"(<qemu:arg value='-blockdev'/><qemu:arg value='{"driver":"predsnap","node-name":"known","access-log":"/x"}'/>)"
        R"(<qemu:arg value='-blockdev'/><qemu:arg value='{"driver":"predsnap","node-name":"a","access-log":"/a"}'/>)"
        R"(<qemu:arg value='-blockdev'/><qemu:arg value='driver=predsnap,access-log=/b,,b,node-name=b'/>)"
        R"(<qemu:arg value='-blockdev'/><qemu:arg value='predsnap,node-name=c'/>)"
        R"(<qemu:arg value='-blockdev'/><qemu:arg value='driver=raw,node-name=e'/>)"
        R"(<qemu:arg value='-blockdev'/><qemu:arg value='{"driver":"predsnap"}'/>)"
        R"(<qemu:arg value='-blockdev'/><qemu:arg value='{nonsense'/>)"
        R"(<qemu:arg value='-device'/><qemu:arg value='driver=predsnap,node-name=f'/>)"));
    ASSERT_EQ(found.size(), 4u);
    EXPECT_EQ(found[0].log, "/l");
    EXPECT_EQ(found[1], (DiskConfig{.name = "d-a", .log = "/a", .qmp = "", .domain = "d", .node = "a"}));
    EXPECT_EQ(found[2], (DiskConfig{.name = "d-b", .log = "/b,b", .qmp = "", .domain = "d", .node = "b"}));
    EXPECT_EQ(found[3].node, "c");
}

TEST(DomainDisks, NonsenseIsAnErrorThatNamesTheDomain) {
    for (const char* metadata : {"<p:disk target='vda' weight='11'/>", "<p:disk target='vda' weight='1x'/>", "<p:disk/>"}) {
        const auto found = disks_of_domain("d", domain(metadata));
        ASSERT_FALSE(found.ok()) << metadata;
        EXPECT_NE(found.error().message.find("domain 'd'"), std::string::npos);
    }
    EXPECT_FALSE(disks_of_domain("d", "<domain").ok());
}

}  // namespace
}  // namespace predsnap::predict
