//! The six outputs of an orchestrator and whether each fits its shape (spec scoring.md §1,
//! orchestrator.md §5, builder.md §3, §6).

use serde_json::Value;

use super::{
    fix_instructions,
    schemas::{misfit, validator},
};
use crate::{pipeline::workspace::PipelineWorkspace, verdict::Failure};

/// The file with the shapes.
const SCHEMAS: &str = "schemas/pipeline_outputs.schema.json";

/// An output by name, and what is wrong with it; nothing when it fits.
pub type Judged = (String, Option<String>);

/// What a finished pipeline left: state, two reports, the configuration of each builder, and the
/// compose file.
///
/// # Errors
/// BROKEN when the shapes cannot be read; what is wrong with a file is in the value.
pub fn judge_run(workspace: &PipelineWorkspace) -> Result<Vec<Judged>, Failure> {
    let own = [
        ("PIPELINE_STATE.json", "pipeline_state"),
        ("INTEGRATION_REPORT.json", "integration_report"),
        ("QUALITY_GATE_REPORT.json", "quality_gate_report"),
    ];
    let mut judged = Vec::new();
    for (name, shape) in own {
        judged.push((name.to_owned(), fits(read(&workspace.file(name)), shape)?));
    }
    judged.push(("config.yaml".into(), configurations(workspace)?));
    judged.push(("compose file".into(), compose(workspace)?));
    Ok(judged)
}

/// A FIX_INSTRUCTIONS.md.
pub fn judge_instructions(text: &str) -> Judged {
    let wrong = fix_instructions::misshapen(text);
    ("FIX_INSTRUCTIONS.md".into(), (!wrong.is_empty()).then(|| wrong.join("; ")))
}

/// A JSON or YAML file; JSON is YAML too.
fn read(path: &std::path::Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    yaml_serde::from_str(&text).map_err(|error| error.to_string())
}

fn fits(value: Result<Value, String>, shape: &str) -> Result<Option<String>, Failure> {
    match value {
        Err(unreadable) => Ok(Some(unreadable)),
        Ok(value) => Ok(misfit(&validator(SCHEMAS, shape)?, &value)),
    }
}

/// The configuration of every builder that was run.
fn configurations(workspace: &PipelineWorkspace) -> Result<Option<String>, Failure> {
    let builders = workspace.state().map(|state| state["builder_statuses"].clone()).unwrap_or_default();
    let builders: Vec<String> = builders.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    if builders.is_empty() {
        return Ok(Some("no builder was run".into()));
    }
    for name in builders {
        let wrong = fits(read(&workspace.build(&name).join("config.yaml")), "builder_config")?;
        if let Some(wrong) = wrong {
            return Ok(Some(format!("{name}: {wrong}")));
        }
    }
    Ok(None)
}

/// The compose file; of its services those that are built are whole, others are fragments.
fn compose(workspace: &PipelineWorkspace) -> Result<Option<String>, Failure> {
    let value = match read(&workspace.compose_file()) {
        Err(unreadable) => return Ok(Some(unreadable)),
        Ok(value) => value,
    };
    if let Some(wrong) = misfit(&validator(SCHEMAS, "compose_file")?, &value) {
        return Ok(Some(wrong));
    }
    let shape = validator(SCHEMAS, "generated_service")?;
    let services = value["services"].as_object().into_iter().flatten();
    let mut built = services.filter(|(name, _)| workspace.build(name).is_dir()).peekable();
    if built.peek().is_none() {
        return Ok(Some("it has no service that was built".into()));
    }
    Ok(built.find_map(|(name, service)| misfit(&shape, service).map(|wrong| format!("{name}: {wrong}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::workspace::blank_state;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    #[test]
    fn what_is_missing_or_of_another_shape_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = PipelineWorkspace::at(folder.path());
        let mut state = blank_state("complete", &[]);
        workspace.write_state(&state).expect("written");
        let judged = judge_run(&workspace).expect("the shapes are there");
        let good: Vec<_> = judged.iter().filter(|(_, wrong)| wrong.is_none()).map(|(name, _)| name.as_str()).collect();
        assert_eq!((judged.len(), good), (5, vec!["PIPELINE_STATE.json"]));
        state["total_builders"] = json!("3");
        workspace.write_state(&state).expect("written");
        let judged = judge_run(&workspace).expect("the shapes are there");
        assert!(judged[0].1.as_ref().is_some_and(|wrong| wrong.contains("total_builders")), "{judged:?}");
    }
}
