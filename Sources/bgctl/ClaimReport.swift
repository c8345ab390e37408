//===-- ClaimReport.swift - what came of bgctl claim, for people and for programs -----------------===//

import BlockGroups

struct ClaimReport {
    let plan: ClaimPlan
    let wanted: String
    let image: Image
    let outcome: ClaimOutcome

    /// Groups shown to people; JSON has all.
    private static let groupsMax = 24
    private static let explanationLinesMax = 12

    private var rate: Double {
        outcome.seconds > 0 ? Double(outcome.tally.claims) / outcome.seconds : 0
    }

    func writeText() throws {
        var output = Output()
        let style = Style(isOn: Terminal.hasColour)
        let tally = outcome.tally
        func fact(_ name: String, _ text: String) {
            output.line(
                style.bold(name) + String(repeating: " ", count: max(1, 11 - name.count)) + text
            )
        }
        fact(
            "what if",
            "\(counted(UInt64(plan.threads), "thread")) claimed \(plan.sizes.text) of \(wanted), "
                + "\(grouped(UInt64(plan.count))) times, giving back \(plan.giveBackPercent) %"
        )
        fact("seed", String(plan.seed))
        fact(
            "rate",
            style.bold("\(grouped(UInt64(rate))) claims/s") + ", every one checked "
                + "(\(decimal(outcome.seconds, 3)) s)"
        )
        fact(
            "claims",
            "\(grouped(tally.claims)) of \(sizeText(tally.claimedBytes)) in all, "
                + "\(grouped(tally.givenBack)) given back meanwhile, "
                + "\(sizeText(outcome.heldBytes.reduce(0, +))) held at the end"
        )
        fact(
            "misses",
            "\(grouped(tally.misses)) (\(percentText(tally.misses, of: UInt64(plan.count))))"
        )
        fact(
            "locks",
            "taken \(grouped(outcome.locksTaken)) times, contended "
                + "\(grouped(outcome.locksContended)) times "
                + "(\(percentText(outcome.locksContended, of: outcome.locksTaken)))"
        )
        output.line()
        writeGroups(to: &output, style)
        if let refusal = outcome.refusal { write(refusal.words, to: &output, style) }
        output.line()
        if outcome.fault == nil, tally.claims == 0 {
            output.line("nothing was claimed, so nothing could overlap")
        } else if outcome.fault == nil {
            output.line(
                style.paint("no two claims overlapped", "1;32")
                    + "; all lay in free space, and given back they left it as it was"
            )
        } else {
            output.line(style.paint("FAILED", "1;31"))
        }
        try output.flush()
    }

    private func writeGroups(to output: inout Output, _ style: Style) {
        var table = Table([
            ("start", .right), ("type|profile", .left), ("free before", .right),
            ("claims", .right), ("claimed", .right), ("held", .right), ("held of free", .left),
        ])
        let tally = outcome.tally
        let most = image.groups.indices.sorted {
            (tally.bytesOfGroup[$0], $1) > (tally.bytesOfGroup[$1], $0)
        }
        for index in most.prefix(ClaimReport.groupsMax).sorted() {
            let group = image.groups[index]
            let free = group.statistics.freeBytes
            table.add([
                String(group.logical), group.words, sizeText(free),
                grouped(tally.claimsOfGroup[index]), sizeText(tally.bytesOfGroup[index]),
                sizeText(outcome.heldBytes[index]),
                bar(outcome.heldBytes[index], of: free, cells: 12),
            ])
        }
        table.write(to: &output, style: style)
        let rest = most.dropFirst(ClaimReport.groupsMax)
        guard !rest.isEmpty else { return }
        output.line(
            style.dim(
                "and \(counted(UInt64(rest.count), "group")) more, with "
                    + counted(rest.reduce(0) { $0 + tally.claimsOfGroup[$1] }, "claim")
                    + " of \(sizeText(rest.reduce(0) { $0 + tally.bytesOfGroup[$1] }))"
            )
        )
    }

    /// The allocator's own words, without groups that were never in question.
    private func write(_ explanation: String, to output: inout Output, _ style: Style) {
        output.line()
        output.line(style.bold("why the first of the misses was refused"))
        let lines = explanation.split(separator: "\n").filter {
            !$0.hasSuffix(": wrong type or profile")
        }
        let shown =
            lines.count <= ClaimReport.explanationLinesMax
            ? lines.count : ClaimReport.explanationLinesMax - 1
        for line in lines.prefix(shown) { output.line("  " + line) }
        if shown < lines.count {
            if lines.count - shown > 1 {
                output.line("  … and \(lines.count - shown - 1) lines more")
            }
            output.line("  " + (lines.last ?? ""))
        }
    }

    func writeJSON() throws {
        var json = JSONWriter()
        let tally = outcome.tally
        json.object { json in
            json.field("ok", outcome.fault == nil && tally.claims > 0)
            json.key("fault")
            if let fault = outcome.fault { json.value(fault) } else { json.null() }
            json.field("seed", plan.seed)
            json.field("threads", plan.threads)
            json.field("count", plan.count)
            json.field("seconds", outcome.seconds)
            json.field("claims", tally.claims)
            json.field("claims_per_second", rate)
            json.field("claimed_bytes", tally.claimedBytes)
            json.field("given_back", tally.givenBack)
            json.field("held", outcome.heldCount)
            json.field("held_bytes", outcome.heldBytes.reduce(0, +))
            json.field("misses", tally.misses)
            json.field("locks_taken", outcome.locksTaken)
            json.field("locks_contended", outcome.locksContended)
            json.key("first_miss")
            if let refusal = outcome.refusal {
                json.object { json in
                    json.field("length", refusal.request.length)
                    json.field("why", refusal.words)
                }
            } else {
                json.null()
            }
            json.list("block_groups") { json in
                for (index, group) in image.groups.enumerated() {
                    json.object { json in
                        json.field("start", group.logical)
                        json.field("flags", group.words)
                        json.field("free_before", group.statistics.freeBytes)
                        json.field("claims", tally.claimsOfGroup[index])
                        json.field("claimed_bytes", tally.bytesOfGroup[index])
                        json.field("held_bytes", outcome.heldBytes[index])
                    }
                }
            }
        }
        try json.end()
    }
}
