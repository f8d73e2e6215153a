//! A suite as JSON: for each item all that `heapglass bench` exports for one program, and the means.

use super::{Item, SHOWN, Standing, Suite};
use crate::json::{array, fields, object, string};
use crate::report::Metric;

pub fn render(suite: &Suite) -> String {
    let pair = |(name, why): &(String, String)| object([("name", string(name)), ("why", string(why))]);
    object([
        ("scale", suite.scale.to_string()),
        ("runs", suite.runs().to_string()),
        ("allocators", array(suite.allocators().into_iter().map(string))),
        ("items", array(suite.items.iter().map(item))),
        ("left_out", array(suite.left_out.iter().map(pair))),
        ("means_of", array(suite.common().iter().map(|item| string(item.name())))),
        ("means", object(SHOWN.map(|(_, metric)| (metric.key(), means(suite, metric))))),
    ]) + "\n"
}

fn item(item: &Item) -> String {
    let mut all = fields(&item.report);
    all.extend([
        ("about", string(&item.about)),
        ("own", item.is_own.to_string()),
        ("program", string(&item.program)),
        ("version", string(&item.version)),
        ("standing", object(SHOWN.map(|(_, metric)| (metric.key(), standing(item.standing(metric)))))),
    ]);
    object(all)
}

fn standing(standing: Option<Standing>) -> String {
    standing.map_or("null".into(), |one| {
        object([("best", string(&one.best)), ("ratio", one.ratio.to_string()), ("verdict", string(one.word()))])
    })
}

fn means(suite: &Suite, metric: Metric) -> String {
    let one = |(name, mean): (&str, Option<super::Mean>)| {
        let number = |of: fn(&super::Mean) -> f64| mean.map_or("null".into(), |mean| of(&mean).to_string());
        object([
            ("allocator", string(name)),
            ("ratio", number(|mean| mean.ratio)),
            ("low", number(|mean| mean.low)),
            ("high", number(|mean| mean.high)),
        ])
    };
    array(suite.allocators().into_iter().zip(suite.means(metric)).map(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_means_and_what_is_left_out_are_there() {
        let text = render(&super::super::example());
        let all = [
            r#""allocators":["libc","heapglass","other"]"#,
            r#""left_out":[{"name":"three","why":"there is no three; Debian package three"}]"#,
            r#""means_of":["one"],"means":{"cpu_seconds":[{"allocator":"libc","ratio":1,"low":1,"high":1},"#,
            r#""about":"what two does","own":false,"program":"/bin/two","version":"two 1.0 <new>","#,
            r#""standing":{"cpu_seconds":{"best":"other","ratio":2,"verdict":"behind"}"#,
        ];
        for part in all {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
