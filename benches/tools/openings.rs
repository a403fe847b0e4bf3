//! How answers begin that a model gives which was taught tools in its prompt.

/// The beginning of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// What the model says.
    pub said: &'static str,
    /// The end of that which is the answer.
    pub answer: &'static str,
}

const fn plain(answer: &'static str) -> Opening {
    Opening { said: answer, answer }
}

/// Answers, many of which begin like a call or like a header of the format.
pub const ANSWERS: &[Opening] = &[
    plain("The train to Graz leaves at noon from platform two, and it is on time today."),
    plain("It is a quarter past four in Lima."),
    plain("A word first: I am not sure about the second half of your question."),
    plain("Élise arrive demain, je crois, par le train de midi."),
    plain("Привет! Завтра будет солнечно, но прохладно."),
    plain("正午を少し過ぎたところです。東京では夜になります。"),
    plain("🙂 Good that you ask, I was about to remind you of it."),
    plain("Thinking of it, the blue one suits the room better than the green one."),
    plain("Thought experiments are cheap, and this one is rather good."),
    plain("Thoughtful of you to ask! Everybody is well here."),
    plain("Action films of the eighties have not aged well, with two exceptions."),
    plain("Action inputs are what the second chapter calls the levers of a machine."),
    plain("Actions speak louder than words, as he used to say."),
    plain("Observation decks open at nine and close when it gets dark."),
    plain("Final answers come at the end of the week, so I would wait."),
    plain("Finally, the third reason is the weather in the mountains."),
    plain("Tools are in the shed behind the house, on the upper shelf."),
    plain("Tool steel holds its edge longer than what they sell you there."),
    plain("Functions of two variables have partial derivatives."),
    plain("time flies when you look at a clock in every city."),
    plain("memory fades, but your notes from March are still here."),
    plain("search for the key under the mat before you call the landlord."),
    plain("home is where the kettle stands."),
    plain("model trains run on a gauge of sixteen and a half millimetres."),
    plain("history repeats itself, and your calendar does so every Tuesday."),
    plain("# Tooling\n\nThree things are worth having on the desk."),
    plain("## What to pack\n\n- a coat\n- the tickets\n- something to read"),
    plain("**Action** is what the plot lacks, and plot what the action lacks."),
    plain("*Thoughts* come in threes today, it seems."),
    plain("- first the tickets\n- then the coat\n- then the rest"),
    plain("1. Look at the clock.\n2. Add seven hours.\n3. That is the time in Tokyo."),
    plain("> To be, or not to be\n\nis what the prince asks himself there."),
    plain("| city | time |\n|---|---|\n| Lima | 4:15 |\n| Tokyo | 18:15 |"),
    plain("`cargo test` runs them all, and the flag in question comes behind two dashes."),
    plain("```rust\nfn main() { println!(\"noon\"); }\n```\n\nThat is all it takes."),
    plain("```python\nprint(\"noon\")\n```\n\nThat is all it takes."),
    plain("```json\n{\"city\": \"Lima\", \"hour\": 4}\n```\n\nThat is what it returns."),
    plain("{\"city\": \"Lima\", \"hour\": 4, \"minute\": 15}"),
    plain("<b>Noon</b> is what the clock in the hall says."),
    plain("<table><tr><td>Lima</td><td>4:15</td></tr></table>"),
    plain("to=day is how they spell it in the old edition."),
    Opening {
        said: "\n\n  It is a quarter past four in Lima, if that clock is right.",
        answer: "It is a quarter past four in Lima, if that clock is right.",
    },
    Opening { said: "Final Answer: It is a quarter past four in Lima.", answer: "It is a quarter past four in Lima." },
    Opening {
        said: "Thought: I know this without a tool.\nFinal Answer: Lima is seven hours behind Vienna in summer.",
        answer: "Lima is seven hours behind Vienna in summer.",
    },
    Opening {
        said: "**Final Answer:** Action is needed, as the letter says.",
        answer: "Action is needed, as the letter says.",
    },
];

/// Answers that a call to a tool may begin with, letter for letter, for longer: they can only come later.
pub const LOOK_ALIKES: &[Opening] = &[
    plain("{\"name\": \"Time Square\", \"city\": \"New York\", \"visitors\": 1000000}"),
    plain("{\n    \"name\": \"Lima\",\n    \"hour\": 4\n}"),
    plain("```json\n{\n    \"name\": \"Lima\",\n    \"hour\": 4\n}\n```\n\nThat is what it returns."),
    plain("```json\n{\"type\": \"object\", \"properties\": {}}\n```\n\nThat is the schema."),
    plain("<tool_calling> is no element that I know of."),
];
