//! The table.

use super::measure::Pair;
use super::{Plan, Rows, Shape};

/// Prints the rows, for people or for programs.
pub(super) fn print(plan: &Plan, rows: &Rows) {
    let mut json = Vec::new();
    let memory = rows.bytes_per_connection;
    if !plan.json {
        let Plan { connections, window, pairs, backlog, .. } = plan;
        println!("{connections} connections each, {pairs} pairs of {window:?}, backlog {backlog}");
        println!("memory per idle connection, reading task and two channels: {memory} bytes");
        println!(
            "{:<10} {:>11} {:>9} {:>7} {:>15} {:>9} {:>9} {:>7} {:>9}",
            "shape",
            "product us",
            "bare us",
            "ratio",
            "lowest-highest",
            "writes",
            "kept",
            "steal",
            "target"
        );
    }
    for row in &rows.rows {
        let kept: Vec<&Pair> = row.pairs.iter().filter(|pair| pair.counts()).collect();
        let rejected = row.pairs.len() - kept.len();
        let used = if kept.is_empty() { row.pairs.iter().collect() } else { kept };
        let steal = row.pairs.iter().map(|pair| pair.product.steal.max(pair.bare.steal));
        let steal = 100.0 * steal.fold(0.0, f64::max);
        let ratios = sorted(used.iter().map(|pair| pair.ratio()));
        let product = median(&sorted(used.iter().map(|pair| pair.product.sent.us())));
        let bare = median(&sorted(used.iter().map(|pair| pair.bare.sent.us())));
        let writes = median(&sorted(used.iter().map(|pair| pair.product.sent.writes_each())));
        let (ratio, lowest, highest) = (median(&ratios), ratios[0], ratios[ratios.len() - 1]);
        let (name, target) = match row.shape {
            Shape::Broadcast => ("broadcast", 1.25),
            Shape::Groups => ("groups", 1.35),
            Shape::Backlog => ("backlog", 0.25),
        };
        if plan.json {
            json.push(serde_json::json!({
                "shape": name, "product_us": product, "bare_us": bare, "ratio": ratio,
                "ratio_lowest": lowest, "ratio_highest": highest, "writes_per_delivery": writes,
                "pairs": row.pairs.len(), "rejected": rejected, "steal_percent": steal,
            }));
        } else {
            let spread = format!("{lowest:.2}-{highest:.2}");
            let pairs = format!("{}/{}", row.pairs.len() - rejected, row.pairs.len());
            println!(
                "{name:<10} {product:>11.2} {bare:>9.2} {ratio:>7.3} {spread:>15} {writes:>9.3} {pairs:>9} {steal:>6.1}% {target:>9}"
            );
        }
    }
    if plan.json {
        let report = serde_json::json!({
            "connections": plan.connections, "backlog": plan.backlog,
            "bytes_per_connection": memory, "rows": json,
        });
        println!("{report}");
    } else {
        println!("us: CPU of the sending thread per delivery. kept: pairs with steal <= 2 %.");
        println!("A row without a kept pair shows the rejected ones, and proves nothing.");
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
