//===-- DiskFreeTests.swift - bgctl df against what btrfs filesystem usage says of a mount --------===//
// Covered: what it prints, in units; every figure that both print, to the byte, for one device and several, every kind of profile,
// mixed groups, several profiles at once, a missing device, a device longer than its file system.
// Not covered: the global reserve and what statfs answers, which only a mounted file system has.
// What compares needs root, loop mounts of btrfs and btrfs-progs, and is skipped, with a word, without.
//===-------------------------------------------------------------------------------------------===//

import BGTestSupport
import Foundation
import Testing

/// What `btrfs filesystem usage --raw` and `btrfs device usage --raw` print.
private struct ProgsUsage {
    /// By the words before the colon.
    var facts: [String: String] = [:]
    /// The figure in brackets behind the fact, such as "min: 99".
    var brackets: [String: Int] = [:]
    /// By type and profile in bgctl's words.
    var spaces: [String: [Int]] = [:]
    /// Of each device, by its number: name and figure of each line.
    var devices: [Int: [String: Int]] = [:]

    init(_ point: String) throws {
        let all = try run("btrfs", ["filesystem", "usage", "--raw", point])
        for line in all.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1).map(Self.trimmed)
            guard parts.count == 2, let word = parts[1].split(whereSeparator: \.isWhitespace).first
            else { continue }
            if let space = Self.flags(parts[0]), parts[1].hasPrefix("Size:") {
                spaces[space] = Self.numbers(parts[1])
            } else {
                facts[parts[0]] = String(word)
                if let open = parts[1].firstIndex(of: "(") {
                    brackets[parts[0]] = Self.numbers(String(parts[1][open...])).first
                }
            }
        }
        var devid = 0
        for line in try run("btrfs", ["device", "usage", "--raw", point]).split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1).map(Self.trimmed)
            guard parts.count == 2, let number = Int(parts[1]) else { continue }
            if parts[0].hasSuffix(", ID") {
                devid = number
            } else {
                devices[devid, default: [:]][Self.flags(parts[0]) ?? parts[0], default: 0] += number
            }
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        text.trimmingCharacters(in: .whitespaces)
    }

    private static func numbers(_ text: String) -> [Int] {
        text.split { !$0.isNumber }.compactMap { Int($0) }
    }

    /// "Data+Metadata,single" as "DATA|METADATA|single"; nil: no type and profile.
    private static func flags(_ text: String) -> String? {
        let parts = text.split(separator: ",").map(String.init)
        guard parts.count == 2 else { return nil }
        // A device's lines of striped profiles say on how many devices: "RAID0/2".
        let profile = parts[1].prefix { $0 != "/" }
        return parts[0].uppercased().replacing("+", with: "|") + "|" + profile
    }
}

@Suite(
    "bgctl df",
    .enabled(if: Program.whyNot == nil, Comment(rawValue: Program.whyNot ?? "")),
    .serialized
)
struct DiskFreeTests {
    struct Setup: CustomTestStringConvertible, Sendable {
        let name: String
        var sizes = [400 << 20]
        var options: [String] = []
        /// What the kernel does to the image first.
        var change: @Sendable (String) throws -> Void = { _ in }
        /// How many of the devices are there when both look.
        var devices: Int?
        var testDescription: String { name }
    }

    private static let two = [400 << 20, 300 << 20]

    static let setups = [
        Setup(name: "single", options: ["-m", "single"], change: fill),
        Setup(name: "dup", options: ["-m", "dup", "-d", "dup"], change: fill),
        Setup(name: "raid1", sizes: two, options: ["-m", "raid1", "-d", "raid1"], change: fill),
        Setup(name: "raid0 and raid1", sizes: two, options: ["-m", "raid1", "-d", "raid0"]),
        Setup(
            name: "raid10 and raid1c4",
            sizes: Array(repeating: 300 << 20, count: 4),
            options: ["-m", "raid1c4", "-d", "raid10"],
            change: fill
        ),
        Setup(
            name: "raid5",
            sizes: Array(repeating: 300 << 20, count: 4),
            options: ["-m", "raid1c3", "-d", "raid5"],
            change: fill
        ),
        Setup(
            name: "raid6",
            sizes: Array(repeating: 300 << 20, count: 5),
            options: ["-m", "raid6", "-d", "raid6"],
            change: fill
        ),
        Setup(name: "mixed", sizes: [120 << 20], options: ["--mixed"], change: fill),
        Setup(
            name: "mixed dup",
            sizes: [300 << 20],
            options: ["--mixed", "-m", "dup", "-d", "dup"]
        ),
        Setup(
            name: "two profiles of data",
            options: ["-m", "single"],
            change: { point in
                try fill(point)
                // No further than one group.
                try run(
                    "btrfs",
                    ["balance", "start", "-dconvert=dup,limit=1", "--force", point]
                )
                try fill(point)
            }
        ),
        Setup(
            name: "next to nothing unallocated",
            sizes: [130 << 20],
            options: ["-m", "single"],
            change: { try? fill($0, bytes: 120 << 20) }
        ),
        Setup(
            name: "shorter than its device",
            change: { point in try run("btrfs", ["filesystem", "resize", "300M", point]) }
        ),
        Setup(
            name: "one device of two is missing",
            sizes: two,
            options: ["-m", "raid1", "-d", "raid1"],
            change: { try fill($0) },
            devices: 1
        ),
    ]

    @Sendable private static func fill(_ point: String) throws {
        try fill(point, bytes: 40 << 20)
    }

    private static func fill(_ point: String, bytes: Int) throws {
        let name = point + "/" + UUID().uuidString
        try Data(repeating: 7, count: bytes / 4 * 3 + 12_345).write(to: URL(fileURLWithPath: name))
        try Data(repeating: 8, count: bytes / 4).write(to: URL(fileURLWithPath: name + "s"))
    }

    @Test func figuresAreInUnitsThatPeopleRead() throws {
        let image = try TestImage(bytes: 300 << 20, devices: 2, "-d", "raid1", "-m", "raid1")
        let outcome = try Program.run("df", image.paths[1], image.paths[0])
        #expect(outcome.status == 0 && outcome.complaint == "", "\(outcome)")
        let lines = outcome.output.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines[0] == "device size           600 MiB")
        #expect(lines.contains("device missing        0 bytes"))
        #expect(lines.contains("data ratio            2.00"))
        #expect(lines.contains("several profiles      no"))
        let free = try #require(lines.first { $0.hasPrefix("free, estimated ") })
        #expect(free.contains(", at least "))
        for path in image.paths { #expect(lines.contains { $0.hasSuffix("  " + path) }) }
        for space in ["DATA|RAID1", "METADATA|RAID1", "SYSTEM|RAID1"] {
            let line = try #require(lines.first { $0.hasPrefix(space + " ") })
            #expect(line.contains(" MiB") && line.hasSuffix(" %"))
        }
        let json = try Program.run("df", "--json", image.paths[0], image.paths[1]).json()
        #expect(json["device_size"] as? Int == 600 << 20)
        #expect(json["data_ratio"] as? Double == 2 && json["metadata_ratio"] as? Double == 2)
    }

    @Test func whatIsMissingIsSaid() throws {
        let image = try TestImage(bytes: 300 << 20, devices: 2, "-d", "raid1", "-m", "raid1")
        let outcome = try Program.run("df", image.paths[0])
        #expect(outcome.status == 0)
        #expect(outcome.output.contains("device missing        300 MiB\n"))
        let last = outcome.output.split(separator: "\n").last
        #expect(last?.hasSuffix("  missing") == true, "\(outcome.output)")
    }

    @Test(
        .enabled(
            if: Machine.canMount && Machine.hasBtrfsProgs,
            "needs root, loop mounts of btrfs and btrfs-progs"
        ),
        arguments: setups
    )
    func everyFigureIsThatOfBtrfsFilesystemUsage(_ setup: Setup) throws {
        let image = try MkfsImage(sizes: setup.sizes, setup.options)
        try image.mounted { try setup.change($0) }
        let paths = Array(image.paths.prefix(setup.devices ?? image.paths.count))
        let ours = try Program.execute(#require(Program.path), ["df", "--json"] + paths.reversed())
            .json()
        try image.mounted(setup.devices == nil ? "ro" : "ro,degraded", devices: setup.devices) {
            try compare(ours, ProgsUsage($0))
        }
    }

    private func compare(_ ours: [String: Any], _ theirs: ProgsUsage) throws {
        func fact(_ name: String) throws -> Int {
            try #require(theirs.facts[name].flatMap { Int($0) }, "no \(name)")
        }
        let facts = [
            "Device size": "device_size", "Device allocated": "device_allocated",
            "Device unallocated": "device_unallocated", "Device missing": "device_missing",
            "Device slack": "device_slack", "Used": "used",
        ]
        let spaces = try #require(ours["spaces"] as? [[String: Any]])
        // What of used bytes is parity is a fraction, which they cut off for each device.
        let hasParity = spaces.contains { space in
            (space["flags"] as? String).map { $0.hasSuffix("RAID5") || $0.hasSuffix("RAID6") }
                == true
        }
        func expectSame(_ field: String, _ theirs: Int, _ name: String) throws {
            let difference = try #require(ours[field] as? Int) - theirs
            #expect(abs(difference) <= (hasParity ? 20 : 0), "\(name): \(difference) more")
        }
        for (name, field) in facts { try expectSame(field, fact(name), name) }
        let isMixed = spaces.contains { ($0["flags"] as? String)?.contains("DATA|META") == true }
        let reserve = try fact("Global reserve") - #require(theirs.brackets["Global reserve"])
        let takenOff = isMixed ? reserve : 0
        let least = try #require(theirs.brackets["Free (estimated)"])
        try expectSame("free_estimated", fact("Free (estimated)") + takenOff, "free")
        try expectSame("free_min", least + takenOff, "least free")
        for (name, field) in [("Data ratio", "data_ratio"), ("Metadata ratio", "metadata_ratio")] {
            let ratio = try #require(ours[field] as? Double)
            #expect(String(format: "%.2f", ratio) == theirs.facts[name], "\(name)")
        }
        let several = try #require(ours["several_profiles"] as? [String])
        #expect(theirs.facts["Multiple profiles"] == (several.isEmpty ? "no" : "yes"))

        var ourSpaces: [String: [Int]] = [:]
        for space in spaces {
            let name = try #require(space["flags"] as? String)
            ourSpaces[name] = try ["size", "used"].map { try #require(space[$0] as? Int) }
        }
        #expect(ourSpaces == theirs.spaces.mapValues { Array($0.prefix(2)) })
        try compareDevices(#require(ours["devices"] as? [[String: Any]]), theirs.devices)
    }

    private func compareDevices(
        _ ours: [[String: Any]],
        _ theirs: [Int: [String: Int]]
    ) throws {
        #expect(ours.count == theirs.count)
        for device in ours {
            let devid = try #require(device["devid"] as? Int)
            let lines = try #require(theirs[devid])
            var spaces = lines
            for name in ["Device size", "Device slack", "Unallocated"] { spaces[name] = nil }
            var ourSpaces: [String: Int] = [:]
            for space in try #require(device["spaces"] as? [[String: Any]]) {
                ourSpaces[try #require(space["flags"] as? String)] = space["device_bytes"] as? Int
            }
            #expect(ourSpaces == spaces, "device \(devid)")
            #expect(device["allocated"] as? Int == spaces.values.reduce(0, +))
            // Of a missing one there is nothing to ask for its size.
            guard device["is_missing"] as? Bool == false else { continue }
            // Their size is that of the whole device.
            let slack = try #require(device["slack"] as? Int)
            #expect(slack == lines["Device slack"])
            #expect(device["size"] as? Int == lines["Device size"].map { $0 - slack })
            #expect(device["unallocated"] as? Int == lines["Unallocated"])
        }
    }
}
