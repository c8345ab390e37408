// swift-tools-version: 6.2
// BlockGroups: the btrfs extent allocator as a userspace library.
//
// Imports point down only:
//   bgctl, bgbench, BGCInterface -> BlockGroups -> BGAllocation, BGTrees -> BGDevices -> BGDiskFormat -> CShim
// Everything from BGCInterface down is written in the Embedded subset of Swift; `make lib` builds
// exactly those targets once more, without a Swift runtime, as libblockgroups.so and .a.

import PackageDescription

let strict: [SwiftSetting] = [
    .strictMemorySafety(),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let shimFlags: [CSetting] = [
    .define("_GNU_SOURCE"),
    .define("BGS_CHECK_LOCKS", .when(configuration: .debug)),
    .define("_LGPL_SOURCE"),
]

let package = Package(
    name: "BlockGroups",
    products: [
        .library(name: "BlockGroups", targets: ["BlockGroups"]),
        .library(name: "blockgroups", type: .dynamic, targets: ["BGCInterface"]),
        .executable(name: "bgctl", targets: ["bgctl"]),
        .executable(name: "bgbench", targets: ["bgbench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        .target(
            name: "CShim",
            path: "CShim",
            publicHeadersPath: "include",
            cSettings: shimFlags,
            linkerSettings: [
                .linkedLibrary("urcu-bp"),
                .linkedLibrary("urcu-common"),
                .linkedLibrary("isal"),
                .linkedLibrary("xxhash"),
                .linkedLibrary("sodium"),
            ]
        ),
        .systemLibrary(name: "CBlockGroups", path: "Include"),
        // What Swift's module of the C library lacks.
        .systemLibrary(name: "HostFiles", path: "Sources/HostFiles"),

        .target(name: "BGDiskFormat", dependencies: ["CShim"], swiftSettings: strict),
        .target(name: "BGAllocation", dependencies: ["CShim"], swiftSettings: strict),
        .target(name: "BGDevices", dependencies: ["BGDiskFormat", "CShim"], swiftSettings: strict),
        .target(
            name: "BGTrees",
            dependencies: ["BGDevices", "BGDiskFormat"],
            swiftSettings: strict
        ),
        .target(
            name: "BlockGroups",
            dependencies: ["BGAllocation", "BGTrees", "BGDevices", "BGDiskFormat"],
            swiftSettings: strict
        ),
        .target(
            name: "BGCInterface",
            dependencies: ["BlockGroups", "BGAllocation", "BGDiskFormat", "CBlockGroups"],
            exclude: ["blockgroups.map", "blockgroups.pc.in"],
            swiftSettings: strict
        ),

        .executableTarget(
            name: "bgctl",
            dependencies: [
                "BlockGroups", "BGDevices", "BGDiskFormat", "HostFiles",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict
        ),
        .target(
            name: "BenchControls",
            cSettings: [.define("_GNU_SOURCE"), .headerSearchPath("../../Include")],
            cxxSettings: [.define("_GNU_SOURCE")]
        ),
        .executableTarget(
            name: "bgbench",
            dependencies: [
                "BGCInterface", "BlockGroups", "CBlockGroups", "BenchControls",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            exclude: ["count", "count.expected", "put"],
            swiftSettings: strict
        ),

        // The fake device, recorded writes, crashes and faults, mkfs images, programs to start.
        .target(
            name: "BGTestSupport",
            dependencies: ["BGDevices", "BGDiskFormat"],
            path: "Tests/Support",
            swiftSettings: [.enableUpcomingFeature("InternalImportsByDefault")]
        ),
        .testTarget(name: "CShimTests", dependencies: ["CShim"]),
        .testTarget(name: "BGAllocationTests", dependencies: ["BGAllocation", "CShim"]),
        .testTarget(name: "BGDiskFormatTests", dependencies: ["BGDiskFormat", "BGTestSupport"]),
        .testTarget(
            name: "BGDevicesTests",
            dependencies: ["BGDevices", "BGDiskFormat", "BGTestSupport"]
        ),
        .testTarget(
            name: "BGTreesTests",
            dependencies: ["BGTrees", "BGDevices", "BGDiskFormat", "BGTestSupport"]
        ),
        .testTarget(
            name: "BlockGroupsTests",
            dependencies: ["BlockGroups", "BGTestSupport"]
        ),
        .testTarget(
            name: "CInterfaceTests",
            dependencies: ["BGCInterface", "CBlockGroups", "BGTestSupport"],
            exclude: ["C"]
        ),
        .testTarget(name: "BgctlTests", dependencies: ["bgctl", "BGTestSupport"]),
        .testTarget(name: "BgbenchTests", dependencies: ["bgbench", "BenchControls"]),
    ],
    cLanguageStandard: .c11,
    cxxLanguageStandard: .cxx17
)
